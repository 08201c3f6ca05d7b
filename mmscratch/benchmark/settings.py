"""What all parts of the suite are told, and where they leave their numbers."""

import dataclasses
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Settings:
    """How one part runs.

    Args:
        part: its name.
        out: the JSON file of all parts.
        folder: holds the data sets ``shapes`` and ``wide``, and what runs leave.
        device: ``cuda`` or ``cpu``.
        tiny: small models and one step of each, for a test of the suite itself.
        until: the second of ``time.monotonic`` at which the part should have ended.
    """

    part: str
    out: Path
    folder: Path
    device: str = 'cuda'
    tiny: bool = False
    until: float = float('inf')

    def left(self) -> float:
        """Seconds that are left to the part."""
        return self.until - time.monotonic()

    def save(self, numbers: Any) -> None:
        """Write the part's numbers of so far, so that a run that is cut keeps them."""
        save(self.out, self.part, numbers)


def save(out: Path, part: str, numbers: Any) -> None:
    """Put the part's numbers into the JSON file, beside those of other parts."""
    lock = os.open(out.parent, os.O_RDONLY)
    try:
        # two parts may run at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = json.loads(out.read_text()) if out.exists() else {}
        record[part] = numbers
        unfinished = out.with_suffix('.tmp')
        unfinished.write_text(json.dumps(record, indent=1) + '\n')
        unfinished.replace(out)
    finally:
        os.close(lock)

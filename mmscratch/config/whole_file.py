"""Files that are there whole, or not at all."""

import os
from pathlib import Path


def write(file: Path, content: bytes | str) -> None:
    """Write a file aside, flush it to the disk, and move it into its place in a single step.

    Whatever happens, the file is the old one or the new one, whole.

    Raises:
        OSError: the disk is full or read-only, or the folder is gone.
    """
    aside = file.with_name(f'{file.name}.tmp')
    try:
        with aside.open('wb') as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            opened.flush()
            os.fsync(opened.fileno())
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)

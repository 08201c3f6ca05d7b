"""Files and folders that are there whole, or not at all."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write(file: Path, content: bytes | str, flush: bool = True) -> None:
    """Write a file aside, flush it to the disk, and move it into its place in a single step.

    Whatever happens, the file is the old one or the new one, whole. Of two writers the later one
    counts. A killed writer leaves a file ``NAME.*.tmp``.

    Args:
        file: its folder must exist.
        content: a text is written as UTF-8.
        flush: False for files that can be made again; a power failure may leave them empty.

    Raises:
        OSError: the disk is full or read-only, or the folder is gone.
    """
    # another name for each writer, who may be on another machine
    aside = file.with_name(f'{file.name}.{secrets.token_hex(4)}.tmp')
    try:
        with aside.open('xb') as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            opened.flush()
            if flush:
                os.fsync(opened.fileno())
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder(out: Path) -> Iterator[Path]:
    """Make a folder to be filled, which becomes ``out`` at the end of the block.

    After an exception nothing is left. A killed process leaves a folder ``.unfinished-*``.

    Raises:
        OSError: ``out`` has files already, or the disk is full or read-only.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=out.parent) as aside:
        unfinished = Path(aside) / 'data'
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(out)

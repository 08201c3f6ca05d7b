"""The folder of a run's outputs. No run overwrites another, and no file is ever half of one."""

import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mmscratch.errors import InputError
from mmscratch.process import whole_file

# Files that a run overwrites in place.
WRITTEN = ('*.pth', 'last_checkpoint', 'init_stats.json', 'curves.png', 'pictures/*')

_locks: dict[Path, IO[str]] = {}


def default_work_dir(
    config: Path,
    data: Path | None,
    init: str | None = None,
    frozen: bool = False,
    scale: float | None = None,
    channels: Sequence[int] | None = None,
) -> Path:
    """``work_dirs/`` plus the config's path below ``configs/``, so that twins have a folder each.

    The name of the data's folder (``--data``) is added, that of the weights' file (``--init``), and
    the words ``frozen`` (``--freeze``), ``x0.5`` (``--scale 0.5``), ``c1-5`` (``--channels 1 5``).
    """
    parts = config.resolve().with_suffix('').parts
    below = parts[len(parts) - parts[::-1].index('configs') :] if 'configs' in parts else parts[-1:]
    folder = Path('work_dirs').joinpath(*below)
    given = [data.resolve().name] if data else []
    given += [Path(init).stem] if init else []
    given += ['frozen'] if frozen else []
    given += [f'x{scale:g}'] if scale is not None else []
    given += ['c' + '-'.join(map(str, channels))] if channels else []
    return folder.with_name('_'.join([folder.name, *given]))


def claim(
    work_dir: Path,
    config: Path,
    resume: str | None,
    out_dir: str | None = None,
    anew: bool = False,
) -> str:
    """Refuse a folder that contains another run, or no run to resume.

    Links to files in the folder become copies, since a run would overwrite their targets.

    Args:
        work_dir: where the outputs will go.
        config: what will be trained.
        resume: a checkpoint, ``'latest'`` for the last one in ``work_dir``, None for a new run.
        out_dir: as for :func:`checkpoint_folder`.
        anew: where a run has ended before its first checkpoint, begin anew; what it has left gets
            the ending ``.old``.

    Returns:
        A line on what was left, empty if there was nothing.

    Raises:
        InputError: ``work_dir`` contains the run of another config; the run would save into a
            folder that contains a run, and ``resume`` is None or a checkpoint of another folder;
            ``resume`` is ``'latest'``, and there is no checkpoint.
    """
    configs = sorted(path.name for path in work_dir.glob('*.py'))
    if configs and configs != [config.name]:
        raise InputError(
            f'{work_dir} holds a run of {configs[0]}, not of {config.name}: '
            'name another folder with --work-dir'
        )
    folder = checkpoint_folder(work_dir, out_dir)
    traces = [*folder.glob('*.pth'), *work_dir.glob('metrics.json')]
    # a run may save a best one before its first
    saved = [path for path in traces if path.suffix == '.pth' and not path.name.startswith('best_')]
    left = traces if anew and not saved and not resume else []
    if traces and not resume and not left:
        cure = 'continue it with --resume' if saved else 'it ended before its first save: remove it'
        raise InputError(
            f'{traces[0].parent} already holds a run ({traces[0].name}): {cure}, or name another '
            'folder with --work-dir'
        )
    began_here = resume in (None, 'latest') or Path(resume).parent.resolve() == folder.resolve()
    if saved and not began_here:
        raise InputError(
            f'{folder} already holds a run ({saved[0].name}), which going on from {resume} would '
            'overwrite: continue it with --resume alone, or name another folder with --work-dir'
        )
    unlink_from_others({work_dir, folder}, config.name)
    # a run would begin at iteration 0
    if resume == 'latest' and not saved:
        raise InputError(
            f'{work_dir} holds a run ({traces[0].name}), but no checkpoint to go on from: name one '
            'with --resume CHECKPOINT, or begin anew with another --work-dir'
            if traces
            else f'{work_dir} holds no run to go on with: correct --work-dir, or leave out --resume'
        )
    names = ', '.join(file.replace(file.with_name(f'{file.name}.old')).name for file in left)
    return names and f'no checkpoint to go on from: the run begins anew, and leaves {names}'


def require_writable(folder: Path, option: str) -> None:
    """Refuse a folder in which nothing can be written; it need not exist yet.

    Args:
        folder: where outputs will go.
        option: what names another folder.

    Raises:
        InputError: the disk is full or read-only, or the folder is another user's.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b'1')
    except OSError as error:
        raise InputError(
            f'{folder}: nothing can be written there ({error.strerror}): name another folder with '
            f'{option}'
        ) from None


@contextlib.contextmanager
def locked(work_dir: Path, out_dir: str | None = None) -> Iterator[None]:
    """Make the folder, and keep all other processes from training in it, until this one ends.

    What a killed run has left half written is removed. A folder that was made for a run that was
    then refused goes again.

    Raises:
        InputError: another run is in the folder, it is a file, or nothing can be written there.
    """
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f'{work_dir} is a file: name another folder with --work-dir')
    folders = {work_dir, checkpoint_folder(work_dir, out_dir)}
    made = [folder for folder in folders if not folder.exists()]
    try:
        for folder in folders:
            require_writable(folder, '--work-dir')
            _lock(folder)
        yield
    finally:
        for folder in made:
            file = _locks.get(folder.resolve())
            if file and [path.name for path in folder.glob('*')] == ['lock']:
                (folder / 'lock').unlink()
                folder.rmdir()
                _locks.pop(folder.resolve()).close()


def _lock(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() in _locks:
        return
    # open until the end of the process, and of its workers, which end with it
    opened = (folder / 'lock').open('w')
    if take(
        opened,
        f'{folder}: a run is in this folder right now; wait for its end, stop it, or '
        'name another folder with --work-dir',
    ):
        for unfinished in folder.glob('*.tmp'):
            unfinished.unlink(missing_ok=True)
    _locks[folder.resolve()] = opened


def take(file: IO[str], held: str) -> bool:
    """Lock a file for this process and those that inherit it; where that is impossible, say so.

    Args:
        file: is open as long as the lock is held.
        held: what to tell if another process holds it.

    Returns:
        False if the file system has no locks.

    Raises:
        InputError: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(held) from None
    except OSError as error:
        print(
            f'warning: {file.name}: cannot be locked ({error.strerror}): see to it that nothing '
            'else is started in this folder',
            file=sys.stderr,
            flush=True,
        )
        return False
    return True


def abandon_later(file: Path) -> list[str]:
    """Rename the checkpoints of later iterations in a checkpoint's folder; return their new names.

    A run goes on from ``file`` on another way, and is not to come back to theirs.
    """
    saved = saved_checkpoints(file.parent)
    later = saved[: saved.index(file)] if file in saved else []
    return [each.replace(each.with_name(f'{each.name}.abandoned')).name for each in later]


def last_checkpoint(work_dir: Path, out_dir: str | None = None) -> Path | None:
    """The checkpoint of this run that the file ``last_checkpoint`` in ``work_dir`` names, if any.

    MMEngine writes a path into that file. Only the file name counts here, since the folder may
    have been moved or copied.

    Args:
        work_dir: the run's folder.
        out_dir: ``out_dir`` of the config's ``CheckpointHook``, which saves below it, in a folder
            of ``work_dir``'s name.
    """
    file = work_dir / 'last_checkpoint'
    if not file.is_file():
        return None
    name = Path(file.read_text(errors='replace').strip()).name
    return checkpoint_folder(work_dir, out_dir) / name


def saved_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that a run can be resumed from, the newest first."""
    numbered = ((re.fullmatch(r'(?:iter|epoch)_(\d+)', f.stem), f) for f in folder.glob('*.pth'))
    files = [(int(match[1]), file) for match, file in numbered if match]
    return [file for _, file in sorted(files, reverse=True)]


def checkpoint_folder(work_dir: Path, out_dir: str | None = None) -> Path:
    """The folder of ``CheckpointHook``: ``work_dir``, or a folder of its name in ``out_dir``.

    To MMEngine, an ``out_dir`` that is the full path of ``work_dir`` is ``work_dir`` itself.
    """
    full = os.path.abspath(work_dir)
    return work_dir if out_dir in (None, full) else Path(out_dir, os.path.basename(full))


def unlink_from_others(folders: set[Path], config: str) -> None:
    """Replace symbolic and hard links by copies, for all files that a run overwrites."""
    patterns = (*WRITTEN, config)
    files = {file for folder in folders for pattern in patterns for file in folder.glob(pattern)}
    for file in files:
        if file.is_file() and (file.is_symlink() or file.stat().st_nlink > 1):
            copy = file.with_name(f'{file.name}.tmp')
            shutil.copy2(file, copy)
            copy.replace(file)


def write(file: Path, content: bytes) -> None:
    """Write a file whole (:func:`whole_file.write`), and flush its new name, too.

    Raises:
        InputError: the disk is full or read-only, or the folder is gone.
    """
    try:
        whole_file.write(file, content)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        free = shutil.disk_usage(file.parent).free / 2**20 if file.parent.is_dir() else 0
        raise InputError(
            f'{file}: cannot be written ({error.strerror}): it needs {len(content) / 2**20:,.0f} '
            f'MiB, and {free:,.0f} MiB are free; earlier files are as they were: make space, or '
            'see to the folder, then go on with --resume'
        ) from None

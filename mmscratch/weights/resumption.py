"""Which checkpoint a run goes on from."""

from pathlib import Path

from mmscratch.config import work_dir
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint


def newest_whole(folder: Path, out_dir: str | None = None) -> tuple[Path | None, str]:
    """Find the checkpoint that ``--resume`` takes, and what there is to say about the choice.

    It is the one that ``last_checkpoint`` names, or, if that is damaged or missing, the newest that
    is whole.

    Args:
        folder: the work directory.
        out_dir: as for :func:`mmscratch.config.work_dir.checkpoint_folder`.

    Returns:
        The checkpoint, None if there is none at all; and a line, empty if there is nothing to say.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    named = work_dir.last_checkpoint(folder, out_dir)
    saved = work_dir.saved_checkpoints(work_dir.checkpoint_folder(folder, out_dir))
    # the one that is named first, whatever its name
    saved = [*filter(None, [named]), *(file for file in saved if file != named)]
    faults = [] if named else [f'{folder} has no last_checkpoint']
    for file in saved:
        try:
            checkpoint.load(file)
        except InputError as error:
            faults.append(str(error))
        else:
            return file, f'{faults[0]}: going on from {file.name}' if faults else ''
    if any(file.is_file() for file in saved):
        raise InputError(
            f'{folder}: none of its checkpoints can be resumed ({faults[-1]}): begin '
            'anew with another --work-dir'
        )
    return None, ''

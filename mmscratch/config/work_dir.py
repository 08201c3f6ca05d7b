"""Where a run's outputs go, and that no run writes over another."""

from pathlib import Path

from mmscratch.errors import InputError


def default_work_dir(config: Path, data: Path | None, init: str | None = None) -> Path:
    """``work_dirs/`` plus the config's path below ``configs/``: twins of one stem keep apart.

    A run on other data (``--data``) has the data folder's name behind it, one with other initial
    weights (``--init``) the name of their file.
    """
    parts = config.resolve().with_suffix('').parts
    below = parts[len(parts) - parts[::-1].index('configs') :] if 'configs' in parts else parts[-1:]
    folder = Path('work_dirs').joinpath(*below)
    given = [data.resolve().name] if data else []
    given += [Path(init).stem] if init else []
    return folder.with_name('_'.join([folder.name, *given]))


def claim(work_dir: Path, config: Path, resume: str | None) -> None:
    """Refuse a folder that holds another run, or none to go on with.

    Args:
        work_dir: where the outputs will go.
        config: what will be trained.
        resume: a checkpoint, ``'latest'`` for that which ``work_dir`` names, None for a new run.

    Raises:
        InputError: ``work_dir`` holds checkpoints or metrics and ``resume`` is not asked for, or it
            holds the run of another config, or does not name the latest checkpoint.
    """
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f'{work_dir} is a file: name another folder with --work-dir')
    configs = sorted(path.name for path in work_dir.glob('*.py'))
    if configs and configs != [config.name]:
        raise InputError(
            f'{work_dir} holds a run of {configs[0]}, not of {config.name}: '
            'name another folder with --work-dir'
        )
    traces = [*work_dir.glob('*.pth'), *work_dir.glob('metrics.json')]
    if traces and not resume:
        raise InputError(
            f'{work_dir} already holds a run ({traces[0].name}): continue it with --resume, '
            'or name another folder with --work-dir'
        )
    # without it a run would begin at iteration 0
    if resume != 'latest' or (work_dir / 'last_checkpoint').exists():
        return
    if traces:
        raise InputError(
            f'{work_dir} holds a run ({traces[0].name}), but no last_checkpoint: name the one to '
            'go on from with --resume CHECKPOINT'
        )
    raise InputError(
        f'{work_dir} holds no run to go on with: correct --work-dir, or leave out --resume'
    )


def last_checkpoint(work_dir: Path, out_dir: str | None = None) -> Path | None:
    """The run's own checkpoint that the file ``last_checkpoint`` in ``work_dir`` names, if any.

    MMEngine writes a path into that file, and reads it from there. Only its last part counts here:
    the folder may have been moved, or copied from another run's.

    Args:
        work_dir: the run's folder.
        out_dir: ``out_dir`` of the config's ``CheckpointHook``, which saves below it, in a folder
            of ``work_dir``'s name.
    """
    file = work_dir / 'last_checkpoint'
    if not file.is_file():
        return None
    name = Path(file.read_text(errors='replace').strip()).name
    return (Path(out_dir, work_dir.name) if out_dir else work_dir) / name

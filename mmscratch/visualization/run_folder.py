"""What the folder of a run tells, and what is missing in it."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config.scalars import read_records, read_scalars
from mmscratch.config.work_dir import checkpoint_folder, last_checkpoint, saved_checkpoints
from mmscratch.errors import InputError, describe, is_bug
from mmscratch.evaluation.detections import Detections, cached
from mmscratch.weights import checkpoint, checkpoint_config


@dataclass
class RunFolder:
    """A run, as far as its folder has it.

    Attributes:
        path: the folder.
        metrics: the content of ``metrics.json``; empty without it.
        records: training and validation as MMEngine recorded them, by iteration, over all
            resumptions. Those of the run whose checkpoint this one goes on from come first, if its
            folder is there.
        history: the validations of ``metrics.json``, in the same way.
        config: of the run, read as data.
        checkpoint: the last one, or the best one if asked for.
        proof: the entry of PreflightHook in the checkpoint.
        detections: of the checkpoint, on the validation images.
        missing: a sentence for each thing that is not there.
    """

    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    records: list[dict] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    config: Config | None = None
    checkpoint: Path | None = None
    proof: dict[str, Any] = field(default_factory=dict)
    detections: Detections | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def arm(self) -> str:
        """What the run began with: scratch, imagenet, ...; '' if that is not known."""
        return self._began.get('arm') or self.proof.get('init', '')

    @property
    def is_random(self) -> bool | None:
        """Whether it began with random weights alone; None if that is not known."""
        if 'weights' in self._began:
            return self._began['weights'] is None
        return self.arm in ('scratch', 'random') if self.arm else None

    @property
    def _began(self) -> dict[str, Any]:
        return self.metrics.get('initialization') or self.proof.get('initialization') or {}


def read(path: Path, best: bool = False, detections: bool = True) -> RunFolder:
    """Read a run's folder.

    Args:
        path: the folder.
        best: take the best checkpoint in place of the last.
        detections: run the checkpoint on its validation images, unless that was done before.

    Raises:
        InputError: this is no folder, or has nothing of a run.
    """
    if not path.is_dir():
        raise InputError(f'{path}: no such folder; give the work directory of a training')
    run = RunFolder(path)
    _read_numbers(run)
    _read_config(run)
    run.checkpoint = _checkpoint(run, best)
    if not (run.metrics or run.records or run.checkpoint):
        raise InputError(
            f'{path}: holds no run (no metrics.json, recorded losses or checkpoint); give the '
            'work directory of a training'
        )
    _drop_abandoned(run)
    _prepend_parents(run)
    if run.checkpoint is None:
        kind = 'best' if best else 'last'
        run.missing.append(
            f'no {kind} checkpoint: so no proof of its initialization, no detections, no curves of '
            'precision, no errors and no pictures'
        )
        return run
    _read_checkpoint(run, run.checkpoint, detections)
    return run


def _read_checkpoint(run: RunFolder, file: Path, detections: bool) -> None:
    try:
        content = checkpoint.load(file)
        run.proof = (content.get('meta') or {}).get('preflight') or {}
        if not run.proof:
            run.missing.append(f'{file.name} has no proof of its initialization')
        if run.config is None:
            with contextlib.suppress(InputError):
                run.config = checkpoint_config.config_of(content, str(file))
        if detections:
            run.detections = cached(file, run.path)
    # such as an image that is damaged: the page of the others is worth more
    except Exception as error:
        if is_bug(error):
            raise
        run.missing.append(f'no detections: {describe(error)}')


def _read_numbers(run: RunFolder) -> None:
    try:
        content = json.loads((run.path / 'metrics.json').read_text())
        run.history = list(content['history'])
        run.metrics = content
    except FileNotFoundError:
        run.missing.append('no metrics.json, which the first validation writes')
    except (ValueError, KeyError, TypeError) as error:
        run.missing.append(f'no numbers: metrics.json is damaged ({error})')
    run.records = read_scalars(run.path)


def _read_config(run: RunFolder) -> None:
    files = [*run.path.glob('*.py'), *sorted(run.path.glob('*/vis_data/config.py'))[::-1]]
    try:
        run.config = checkpoint_config.read(files[0].read_text(), str(files[0]))
    except IndexError:
        run.missing.append('no config')
    except InputError as error:
        run.missing.append(f'no config: {error}')


def _checkpoint(run: RunFolder, best: bool) -> Path | None:
    hook = (run.config or {}).get('default_hooks', {}).get('checkpoint') or {}
    folder = checkpoint_folder(run.path, hook.get('out_dir'))
    if best:
        return max(folder.glob('best_*.pth'), key=_number, default=None)
    named = last_checkpoint(run.path, hook.get('out_dir'))
    if named is not None and named.is_file():
        return named
    return next(iter(saved_checkpoints(folder)), None)


def _number(file: Path) -> int:
    """The iteration or epoch in a checkpoint's name."""
    return int((re.findall(r'\d+', file.stem) or [0])[-1])


def _drop_abandoned(run: RunFolder) -> None:
    """Drop validations of the way that a resumption from an older checkpoint has left.

    ``metrics.json`` has them until the first validation after the resumption.
    """
    source = _source(run.config)
    files = sorted(run.path.glob('*/vis_data/scalars.json'))
    # a run by epochs records them in place of iterations
    if not source or source.stem.startswith('epoch_') or not _is_own(run, source) or not files:
        return
    begin = _number(source)
    since = {each['step'] for each in read_records(files[-1]) if 'loss' not in each}
    kept = [
        each for each in run.history if each['iteration'] <= begin or each['iteration'] in since
    ]
    if len(kept) < len(run.history):
        run.history = kept
        run.metrics = run.metrics | dict(last=kept[-1] if kept else {})
        run.missing.append(
            f'no validation since the run went back to {source.name}: later ones are left out'
        )


def _prepend_parents(run: RunFolder) -> None:
    """Add the curves of the run from whose checkpoint, in another folder, this one went on.

    That run may have gone on from another one itself.
    """
    met, child = {run.path.resolve()}, run
    while source := _foreign_source(child):
        folder = source.parent
        places = [folder, child.path.parent / folder.name]
        place = next((each for each in places if each.is_dir()), None)
        if place is None:
            run.missing.append(f'its beginning: it went on from {source}, which is not there')
            return
        if place.resolve() in met:
            return
        met.add(place.resolve())
        parent, begin = RunFolder(place), _iteration(place / source.name)
        _read_numbers(parent)
        run.records[:0] = [each for each in parent.records if each['step'] <= begin]
        run.history[:0] = [each for each in parent.history if each['iteration'] <= begin]
        child = parent


def _iteration(file: Path) -> int:
    """At which a checkpoint was saved; of ``epoch_N.pth`` it says so itself."""
    if file.stem.startswith('epoch_') and file.is_file():
        with contextlib.suppress(InputError):
            return checkpoint.load(file).get('meta', {}).get('iter', _number(file))
    return _number(file)


def _foreign_source(run: RunFolder) -> Path | None:
    """The checkpoint in another folder from which a run went on, by its oldest config that says so.

    A later resumption's config names the run's own checkpoint.
    """
    files = [*sorted(run.path.glob('*/vis_data/config.py')), *run.path.glob('*.py')]
    for file in files:
        with contextlib.suppress(InputError):
            source = _source(checkpoint_config.read(file.read_text(), str(file)))
            if source and not _is_own(run, source):
                return source
    return None


def _is_own(run: RunFolder, source: Path) -> bool:
    """Whether a checkpoint is of this run, whose folder may have been moved."""
    folder = source.parent
    return (
        folder.resolve() == run.path.resolve() if folder.is_dir() else folder.name == run.path.name
    )


def _source(config: Config | None) -> Path | None:
    """What a run was resumed from."""
    source = config.get('load_from') if config and config.get('resume') else None
    return Path(source) if source else None

"""What the folder of a run tells, and what is missing in it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config.scalars import read_scalars
from mmscratch.config.work_dir import last_checkpoint
from mmscratch.errors import InputError
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
        began = self.metrics.get('initialization') or self.proof.get('initialization') or {}
        return began.get('arm') or self.proof.get('init', '')


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
    _prepend_parent(run)
    if run.checkpoint is None:
        kind = 'best' if best else 'last'
        run.missing.append(
            f'no {kind} checkpoint: so no proof of its initialization, no detections, no curves of '
            'precision, no errors and no pictures'
        )
        return run
    try:
        run.proof = (checkpoint.load(run.checkpoint).get('meta') or {}).get('preflight') or {}
        if detections:
            run.detections = cached(run.checkpoint, path)
    except InputError as error:
        run.missing.append(f'no detections: {error}')
    if not run.proof:
        run.missing.append(f'{run.checkpoint.name} has no proof of its initialization')
    return run


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
    saved = sorted(run.path.glob('best_*.pth'), key=_number)
    if not best:
        named = last_checkpoint(run.path)
        if named is not None and named.is_file():
            return named
        saved += sorted(run.path.glob('[ie]*_*.pth'), key=_number)  # iter_N.pth and epoch_N.pth
    return saved[-1] if saved else None


def _number(file: Path) -> int:
    """The iteration or epoch in a checkpoint's name."""
    return int((re.findall(r'\d+', file.stem) or [0])[-1])


def _prepend_parent(run: RunFolder) -> None:
    """Add the curves of the run from whose checkpoint, in another folder, this one went on."""
    source = run.config.get('load_from') if run.config and run.config.get('resume') else None
    if not source:
        return
    folder = Path(source).parent
    for place in (folder, run.path.parent / folder.name):
        if place.is_dir() and place.resolve() != run.path.resolve():
            parent, begin = RunFolder(place), _number(Path(source))
            _read_numbers(parent)
            run.records[:0] = [each for each in parent.records if each['step'] <= begin]
            run.history[:0] = [each for each in parent.history if each['iteration'] <= begin]
            return

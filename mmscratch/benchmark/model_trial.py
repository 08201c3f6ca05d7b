"""Whether a config's model runs: built at full size, one step of training, one prediction."""

import copy
import logging
import multiprocessing
import os
import re
import resource
import signal
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

STAGES = ('build', 'train', 'predict')
# pixels a side: the smallest at which most models run, then for those that shrink it to nothing
SIZES = (64, 128, 300, 512)
# entries of a model's config that load weights, or enlarge images
LEFT_OUT = ('pretrained', 'teacher_ckpt', 'batch_augments')
# what a library says when a package is missing
_ABSENT = (
    r"No module named '(\w+)",
    r'([\w-]+) is not installed',
    r'"mim install (\w+)',
    r'[Pp]lease (?:run "pip )?install (\w+)',
    r"custom modules from {'imports': \['(\w+)",
)


def distinct_models(folder: Path) -> tuple[list[tuple[list[str], ConfigDict]], dict[str, str]]:
    """The models of the configs of a folder, as :func:`plain` has them.

    Files of ``_base_`` and files without a model are left out.

    Returns:
        Of models that differ in numbers only, the first, with the names of the configs of all; of
        each config that cannot be loaded, the reason.
    """
    models: dict[str, tuple[list[str], ConfigDict]] = {}
    faults = {}
    for file in sorted(folder.rglob('*.py')):
        name = file.relative_to(folder).as_posix()
        if '_base_' in name:
            continue
        try:
            model = Config.fromfile(file).get('model')
        except Exception as error:
            faults[name] = reason(error).replace(f'{folder}/', '')
        else:
            if model is not None:
                model = plain(model)
                models.setdefault(repr(without_numbers(model)), ([], model))[0].append(name)
    return list(models.values()), faults


def plain(cfg: Any) -> Any:
    """The config without ``LEFT_OUT`` and weights to load, its keys in one order."""
    if isinstance(cfg, dict):
        kept = {key: plain(cfg[key]) for key in sorted(cfg, key=str) if key not in LEFT_OUT}
        if 'checkpoint' in str(kept.get('init_cfg')):
            del kept['init_cfg']
        return type(cfg)(kept)
    return type(cfg)(map(plain, cfg)) if isinstance(cfg, (list, tuple)) else cfg


def without_numbers(cfg: Any) -> Any:
    """What tells models apart that differ in more than depths, classes, thresholds and the like."""
    if isinstance(cfg, dict):
        return {key: without_numbers(value) for key, value in cfg.items()}
    if isinstance(cfg, (list, tuple)):
        values = [without_numbers(value) for value in cfg]
        return values if any(value is not None for value in values) else None
    return None if isinstance(cfg, (int, float)) and not isinstance(cfg, bool) else cfg


def try_model(model: ConfigDict, folder: Path, seconds: int) -> dict[str, Any]:
    """Build the model, train it for one step, predict, in a process of its own.

    Args:
        model: config of a detector.
        folder: the working folder, to which paths in the model are relative.
        seconds: of processor time, after which the process is killed.

    Returns:
        Of each of ``STAGES``, as far as it came, ``ok`` or the reason; ``seconds`` that it took.
    """
    before = _children_seconds()
    ours, its = multiprocessing.Pipe(duplex=False)
    # a fork has all libraries loaded
    arguments = (model, folder, seconds, its)
    process = multiprocessing.get_context('fork').Process(target=_run, args=arguments)
    process.start()
    its.close()
    record: dict[str, Any] = {}
    for stage in STAGES:
        try:
            record[stage] = ours.recv()
        except EOFError:
            process.join()
            if process.exitcode == -signal.SIGXCPU:
                record[stage] = f'more than {seconds} seconds'
            elif process.exitcode:
                record[stage] = f'the process ended with status {process.exitcode}'
            break
    process.join()
    return record | dict(seconds=round(_children_seconds() - before, 1))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(model: ConfigDict, folder: Path, seconds: int, pipe: Connection) -> None:
    """Send the outcome of each stage; none after a model that cannot be built."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    logging.disable()
    os.chdir(folder)
    torch.manual_seed(0)
    # what a runner tells models
    for name in ('iter', 'epoch'):
        MessageHub.get_current_instance().update_info(name, 0)
    try:
        detector = MODELS.build(copy.deepcopy(model))
        detector.init_weights()
    except Exception as error:
        pipe.send(reason(error))
        return
    pipe.send('ok')
    for stage in (train, predict):
        pipe.send(_outcome(stage, detector))


def _outcome(stage: Callable[[torch.nn.Module, int], None], detector: torch.nn.Module) -> str:
    """``ok`` if it works at one of ``SIZES``, else why it does not at the last."""
    for size in SIZES:
        try:
            stage(detector, size)
        except Exception as error:
            outcome = reason(error)
        else:
            return 'ok'
    return outcome


def reason(error: Exception) -> str:
    """Why something does not run, in a few words."""
    text = str(error)
    if absent := re.match(r'(\w+) is not among the operators', text):
        return f'operator {absent[1]}'
    for pattern in _ABSENT:
        if absent := re.search(pattern, text):
            return f'package {absent[1]}'
    line = next(filter(None, text.splitlines()), '')
    return f'{type(error).__name__}: {line}'[:160]


def train(detector: torch.nn.Module, size: int) -> None:
    """One step of SGD on two images of so many pixels a side; its loss has to be finite."""
    optimizer = OptimWrapper(torch.optim.SGD(detector.parameters(), lr=1e-4))
    detector.train()
    losses = detector.train_step(batch(detector, size, training=True), optimizer)
    if not losses['loss'].isfinite():
        raise ArithmeticError(f'loss {losses["loss"].item()}')


def predict(detector: torch.nn.Module, size: int) -> None:
    """Detections of an image, or of a video of two, of so many pixels a side."""
    detector.eval()
    with torch.no_grad():
        detector.test_step(batch(detector, size, training=False))


def batch(detector: torch.nn.Module, size: int, training: bool) -> dict[str, Any]:
    """Noise with three objects an image, as a loader gives it.

    For training, two images; for a test, which some models take one by one, one; for models of
    videos, a video of two frames.
    """
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals, demo_track_inputs

    shape = (3, size, size)
    preprocessor = detector.data_preprocessor
    video = isinstance(preprocessor, MODELS.get('TrackDataPreprocessor'))
    if video and not (training and preprocessor.use_det_processor):
        return demo_track_inputs(1, 2, [0], [shape], num_items=[3], with_mask=True)
    semantic_head = getattr(getattr(detector, 'roi_head', None), 'semantic_head', None)
    count = 2 if training else 1
    images = demo_mm_inputs(
        count,
        [shape] * count,
        num_items=[3] * count,
        with_mask=any('mask' in name for name, _ in detector.named_modules()),
        with_semantic=True,
        # the head of Hybrid Task Cascade compares at an eighth of the size
        sem_seg_output_strides=8 if semantic_head else 1,
    )
    proposals = demo_mm_proposals([shape] * count, 50)
    for sample, its in zip(images['data_samples'], proposals):
        sample.gt_instances.labels.zero_()  # some models have one class
        if not getattr(detector, 'with_rpn', True):
            sample.proposals = its
        sample.set_metainfo(dict(homography_matrix=np.eye(3, dtype=np.float32)))
    if training and isinstance(preprocessor, MODELS.get('MultiBranchDataPreprocessor')):
        branches = ('sup', 'unsup_teacher', 'unsup_student')
        return {
            key: {branch: copy.deepcopy(value) for branch in branches}
            for key, value in images.items()
        }
    return images


# first word of a fault -> how a table calls it
LACKING = {'package': 'needs a package', 'operator': 'needs an operator that is absent'}
UNTRIED = 'not tried yet'


def fault(entry: dict[str, Any]) -> str | None:
    """Why the first of ``STAGES`` that fails does; None if all work."""
    outcomes = [entry.get(stage, UNTRIED) for stage in STAGES]
    return next((outcome for outcome in outcomes if outcome != 'ok'), None)


def rows(measured: dict[str, Any]) -> list[list[str]]:
    """How many configs run, and what the others lack, header first."""
    kinds: dict[str, Counter[str]] = {}
    for why, number in [
        *((fault(entry) or '', len(entry['configs'])) for entry in measured['models']),
        *((why, 1) for why in measured['not_loaded'].values()),
    ]:
        kind, _, lacking = why.partition(' ')
        if kind not in LACKING:
            kind, lacking = (why if why == UNTRIED else 'another error' if why else 'works'), ''
        kinds.setdefault(kind, Counter())[lacking] += number
    cells = [
        ['', 'configs'],
        ['builds, trains, predicts', f'{kinds.pop("works", Counter()).total()}'],
    ]
    for kind, counts in sorted(kinds.items(), key=lambda item: -item[1].total()):
        names = ', '.join(f'{name} ({number})' for name, number in counts.most_common() if name)
        text = f'{LACKING[kind]}: {names}' if names else kind
        cells.append([text, f'{counts.total()}'])
    return cells

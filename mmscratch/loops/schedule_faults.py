"""Find what a schedule never does: save, validate, drop the learning rate, start a stage."""

import difflib
import re
from typing import Any

from mmdet.evaluation import VOCMetric
from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, ParamSchedulerHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmscratch.config.batch_plan import progressive_resizes


def schedule_faults(runner: Runner) -> list[str]:
    """Find what the schedule never does: save, validate, drop the learning rate, start a stage.

    A hook that monitors a number that validation does not yield is a fault too.
    """
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    length = loop.max_epochs if by_epoch else loop.max_iters
    faults = _saving_faults(runner, by_epoch)
    if runner.val_loop is None:
        faults.append('it never validates: val_cfg, val_dataloader and val_evaluator are None')
    elif loop.val_begin > length:
        faults.append(f'it never validates: val_begin={loop.val_begin} lies past the end, {length}')
    faults += _metric_faults(runner)
    faults += _cascade_faults(runner)
    faults += [
        f'ProgressiveResize never comes to all of its scales: begins={list(step["begins"])}, and '
        f'training ends at iteration {length}'
        for step in progressive_resizes(runner.cfg)
        if max(step['begins']) >= length
    ]
    schedulers = runner.param_schedulers or []
    if schedulers and not any(isinstance(hook, ParamSchedulerHook) for hook in runner.hooks):
        faults.append(
            'the learning rate stays at its first value: there is no ParamSchedulerHook to follow '
            'param_scheduler; set param_scheduler=None too'
        )
    lists = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    return faults + [fault for ones in lists for one in ones for fault in _drop_faults(one, loop)]


def _saving_faults(runner: Runner, by_epoch: bool) -> list[str]:
    faults = []
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    if not hooks:
        return ['it never saves: there is no CheckpointHook']
    for hook in hooks:
        length = runner.max_epochs if hook.by_epoch else runner.max_iters
        first = hook.save_begin or hook.interval
        if hook.by_epoch and not by_epoch:
            faults.append(
                'CheckpointHook counts epochs in a loop of iterations, which is one epoch: set '
                'by_epoch=False'
            )
        elif not (hook.save_last or hook.save_best or (hook.interval > 0 and first <= length)):
            faults.append(
                f'it never saves: CheckpointHook has interval={hook.interval}, save_begin='
                f'{hook.save_begin} and save_last=False, and the end is {length}'
            )
    return faults


def _metric_faults(runner: Runner) -> list[str]:
    """Find hooks that monitor a number that validation does not yield."""
    known = _metric_names(runner)
    if known is None:
        return []
    wanted = []
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            wanted += [(hook, 'save_best', name) for name in hook.save_best or () if name != 'auto']
        elif isinstance(hook, EarlyStoppingHook):
            wanted.append((hook, 'monitor', hook.monitor))
    has_losses = any(isinstance(hook, HOOKS.get('ValLossHook')) for hook in runner.hooks)
    return [
        f'{type(hook).__name__} has {option}={name!r}, which validation does not yield; nearest: '
        f'{", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0)) or "nothing"}'
        for hook, option, name in wanted
        if name not in known and not (has_losses and re.fullmatch('val_.*loss.*', name))
    ]


def _metric_names(runner: Runner) -> list[str] | None:
    """Return the names of validation's numbers; None if they are unknown for one of its metrics."""
    if runner.val_loop is None:
        return None
    names = []
    for metric in runner.val_loop.evaluator.metrics:
        if hasattr(metric, 'metric_names'):
            names += metric.metric_names()
        elif type(metric) is VOCMetric and metric.metric == 'mAP':
            thresholds = [f'AP{int(threshold * 100):02d}' for threshold in metric.iou_thrs]
            names += [f'{metric.prefix}/{name}' for name in ('mAP', *thresholds)]
        else:
            return None
    return names


def _cascade_faults(runner: Runner) -> list[str]:
    return [
        f'the cascade never starts: StartCascadeHook has begin={hook.begin}, and training ends at '
        f'iteration {runner.max_iters}: give an earlier begin, or take the config without cascade'
        for hook in runner.hooks
        if isinstance(hook, HOOKS.get('StartCascadeHook')) and hook.begin >= runner.max_iters
    ]


def _drop_faults(scheduler: Any, loop: Any) -> list[str]:
    """Find the drops of a built scheduler that never come.

    MMEngine counts milestones from the scheduler's ``begin``, and ignores those after its ``end``.
    """
    name = type(scheduler).__name__
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if scheduler.by_epoch and not by_epoch:
        return [f'{name} counts epochs in a loop of iterations and never steps: set by_epoch=False']
    milestones = sorted(getattr(scheduler, 'milestones', ()))
    if not milestones:
        return []
    length = loop.max_epochs if scheduler.by_epoch else loop.max_iters
    end = min(scheduler.end, length)
    late = [m for m in milestones if not scheduler.begin <= scheduler.begin + m < end]
    unit = 'epoch' if scheduler.by_epoch else 'iteration'
    if late:
        return [
            f'{name} never reaches milestones {late}: begin={scheduler.begin}, '
            f'end={scheduler.end}, and training ends at {unit} {length}'
        ]
    # milestones in epochs, but by_epoch=False
    if (
        by_epoch
        and unit == 'iteration'
        and milestones[-1] < min(loop.max_epochs, length // loop.max_epochs)
    ):
        return [
            f'{name} drops at iterations {milestones}, all in the first epoch: set by_epoch=True'
        ]
    return []

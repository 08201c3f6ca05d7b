"""The learning rate of a config at an iteration, without an optimizer."""

from mmengine.config import Config

from mmscratch.errors import InputError


def learning_rate(cfg: Config, iteration: int) -> float:
    """The optimizer's rate times the factors of all schedulers, at an iteration from 0 up.

    MMEngine's schedulers have set this rate when that iteration computes its update. They count
    milestones from ``begin``, and LinearLR reaches its last factor at iteration ``end`` - 1.

    Raises:
        InputError: a scheduler is neither LinearLR nor MultiStepLR, or counts epochs.
    """
    rate = cfg.optim_wrapper.optimizer.lr
    for scheduler in cfg.param_scheduler:
        kind = scheduler.type
        if scheduler.get('by_epoch', True) or kind not in ('LinearLR', 'MultiStepLR'):
            raise InputError(
                f'param_scheduler {kind}: give LinearLR or MultiStepLR, with by_epoch=False'
            )
        begin, end = scheduler.get('begin', 0), scheduler.end
        step = min(iteration, end - 1) - begin
        if step < 0:
            continue
        if kind == 'MultiStepLR':
            drops = sum(step >= drop for drop in scheduler.milestones)
            rate *= scheduler.get('gamma', 0.1) ** drops
        else:
            first, last = scheduler.get('start_factor', 1 / 3), scheduler.get('end_factor', 1.0)
            rate *= first + (last - first) * step / (end - begin - 1)
    return rate

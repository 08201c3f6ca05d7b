"""The learning rate of a config at an iteration, without an optimizer."""

from mmengine.config import Config, ConfigDict

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
        rate *= _factor(scheduler, iteration)
    return rate


def _factor(scheduler: ConfigDict, iteration: int) -> float:
    kind = scheduler.type
    if scheduler.get('by_epoch', True) or kind not in ('LinearLR', 'MultiStepLR'):
        raise InputError(
            f'param_scheduler: {kind}, by_epoch={scheduler.get("by_epoch", True)}: only LinearLR '
            'and MultiStepLR with by_epoch=False can be read here'
        )
    begin, end = scheduler.get('begin', 0), scheduler.end
    if iteration < begin:
        return 1.0
    step = min(iteration, end - 1) - begin
    if kind == 'MultiStepLR':
        return scheduler.get('gamma', 0.1) ** sum(step >= drop for drop in scheduler.milestones)
    first, last = scheduler.get('start_factor', 1 / 3), scheduler.get('end_factor', 1.0)
    return first + (last - first) * step / (end - begin - 1)

"""The learning rate of a config at an iteration, without an optimizer."""

from mmengine.config import Config, ConfigDict

from mmscratch.errors import InputError


def learning_rate(cfg: Config, iteration: int) -> float:
    """The rate of weights at ``iteration``, from 0 up: that of the optimizer times all factors.

    It is what mmengine's schedulers have set when that iteration computes its update; they count
    milestones from ``begin``, and LinearLR reaches its last factor at iteration ``end`` - 1.
    InputError for schedulers other than LinearLR and MultiStepLR that count iterations.
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

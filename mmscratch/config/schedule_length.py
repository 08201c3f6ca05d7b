"""The same recipe in another number of iterations."""

import logging

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config.batch_plan import schedulers_of
from mmscratch.errors import InputError

# Of a run whose warm-up has to be shortened: a recipe's share would be nothing of a much shorter
# run, and random weights diverge without one.
LEAST_WARM_UP = 0.1


def set_iterations(cfg: Config, iterations: int) -> None:
    """Let a run end after so many iterations of the recipe's batch.

    Drops of the learning rate keep their distance from the end, as the paper's do in schedules of
    any length (section 3). If the full rate then had less than a third of the run, its share in the
    paper's 1x, all drops move in proportion. The warm-up stays as long as it is;
    where the first drop would come before its end, or the run would end before, it is shortened in
    proportion, to a tenth of the run at least, which the log tells. A cascade starts in proportion.
    Validation and saving come nine times at least, as in 1x here.

    Args:
        cfg: changed in place, before :func:`mmscratch.config.batch_plan.plan_batch`.
        iterations: optimizer steps of ``auto_scale_lr.base_batch_size`` images.

    Raises:
        InputError: the run is too short for a warm-up and a drop after it, or there is no number
            of iterations to begin with.
    """
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(f'{cfg.filename}: train_cfg has no max_iters that --iterations could set')
    before = cfg.train_cfg.max_iters
    # of a step; the config's own numbers count passes then
    passes = cfg.optim_wrapper.get('accumulative_counts', 1)
    interval = max(1, iterations // 9) * passes
    iterations *= passes
    cfg.train_cfg.max_iters = iterations
    _shorten(cfg.train_cfg, 'val_interval', interval)
    hooks = cfg.get('default_hooks') or {}
    _shorten(hooks.get('checkpoint') or {}, 'interval', interval)
    if cascade := hooks.get('start_cascade'):
        cascade.begin = cascade.begin * iterations // before
    schedulers = schedulers_of(cfg)
    warm_ups = [s for s in schedulers if s.get('end', before) < before]
    others = [s for s in schedulers if s.get('end', before) >= before]
    for scheduler in others:
        begin = max(0, scheduler.get('begin', 0) - _delay(scheduler, passes))
        if scheduler.get('T_max') == before:
            scheduler.T_max = iterations
        elif scheduler.get('T_max') == before - begin and 'end' in scheduler:
            del scheduler.T_max  # MMEngine takes what begin and end say
        if scheduler.get('end') == before:
            scheduler.end = iterations
        if drops := scheduler.get('milestones'):
            scheduler.milestones = _moved(drops, before, iterations, passes)
    # MMEngine counts milestones from begin
    firsts = [s.get('begin', 0) + min(s.milestones) for s in others if s.get('milestones')]
    warm_up = max((s.end for s in warm_ups), default=0)
    if warm_up > min([iterations, *firsts]):
        share = max(iterations / before, LEAST_WARM_UP * iterations / warm_up)
        _shorten_warm_up(cfg, warm_ups, others, share)


def _moved(drops: list[int], before: int, iterations: int, passes: int) -> list[int]:
    if before - min(drops) <= iterations * 2 / 3:
        return [drop - before + iterations for drop in drops]
    steps = (round(drop * iterations / before / passes) for drop in drops)
    # rounded up to the end it would never come
    return [max(1, min(step, iterations // passes - 1)) * passes for step in steps]


def _shorten_warm_up(
    cfg: Config, warm_ups: list[ConfigDict], others: list[ConfigDict], share: float
) -> None:
    """Leave a share of the warm-up, and begin behind it what begins or drops before its end."""
    passes = cfg.optim_wrapper.get('accumulative_counts', 1)
    iterations = cfg.train_cfg.max_iters
    was = max(scheduler.end for scheduler in warm_ups) // passes - 1
    for scheduler in warm_ups + others:
        delay = _delay(scheduler, passes)
        begin = (scheduler.get('begin', 0) - delay) // passes
        if begin > 0:
            begin = max(1, round(begin * share))
            scheduler.begin = begin * passes + delay
        if scheduler in warm_ups:
            # a curve ends at iteration end - 1
            last = (scheduler.end - 1 - delay) // passes
            scheduler.end = max(begin + 1, 1, round(last * share)) * passes + delay + 1
    end = max(scheduler.end for scheduler in warm_ups)
    for scheduler in others:
        first, last = (limit - scheduler.get('begin', 0) for limit in (end, iterations - passes))
        if first > last:
            raise InputError(
                f'--iterations {iterations // passes}: {cfg.filename} has a warm-up, which takes '
                f'one iteration at least, and changes the learning rate after it: give more than '
                f'{-(-end // passes)}'
            )
        if drops := scheduler.get('milestones'):
            scheduler.milestones = [min(max(drop, first), last) for drop in drops]
    print_log(
        f'--iterations {iterations // passes}: the warm-up is shortened from {was} iterations to '
        f'{end // passes - 1}',
        logger='current',
        level=logging.INFO,
    )


def _delay(scheduler: ConfigDict, passes: int) -> int:
    """Passes by which a curve begins later than its step (``batch_plan`` says why)."""
    return 0 if 'Step' in scheduler.get('type', '') else passes - 1


def _shorten(section: ConfigDict, key: str, most: int) -> None:
    if section.get(key, 0) > most:
        section[key] = most

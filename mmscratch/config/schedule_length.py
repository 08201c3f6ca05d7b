"""Set the number of iterations of a recipe."""

import logging

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config.batch_plan import progressive_resizes, schedulers_of
from mmscratch.errors import InputError

# Share of the run. In proportion, the warm-up of a much shorter run would vanish, and random
# weights diverge without one.
LEAST_WARM_UP = 0.1


def set_iterations(cfg: Config, iterations: int) -> None:
    """Let a run end after ``iterations``, and fit its schedule to that length.

    - Drops of the learning rate keep their distance from the end, as in the paper (section 3). If
      less than a third of the run, the share in the paper's 1x, would have the full rate, all drops
      move in proportion.
    - The warm-up keeps its length. If it would end after the first drop or the run, it is shortened
      in proportion, to a tenth of the run at least. The log says so.
    - A cascade and the stages of ``ProgressiveResize`` start in proportion.
    - The run validates and saves nine times at least, as in 1x.

    Args:
        cfg: changed in place, before :func:`mmscratch.config.batch_plan.plan_batch`.
        iterations: optimizer steps of ``auto_scale_lr.base_batch_size`` images.

    Raises:
        InputError: the run is too short for a warm-up and a drop after it, or the config has no
            ``max_iters``.
    """
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(f'{cfg.filename}: train_cfg has no max_iters that --iterations could set')
    before = cfg.train_cfg.max_iters
    interval = max(1, iterations // 9)
    cfg.train_cfg.max_iters = iterations
    _shorten(cfg.train_cfg, 'val_interval', interval)
    hooks = cfg.get('default_hooks') or {}
    _shorten(hooks.get('checkpoint') or {}, 'interval', interval)
    if cascade := hooks.get('start_cascade'):
        cascade.begin = cascade.begin * iterations // before
    for step in progressive_resizes(cfg):
        step['begins'] = [begin * iterations // before for begin in step['begins']]
    schedulers = schedulers_of(cfg)
    warm_ups = [s for s in schedulers if s.get('end', before) < before]
    others = [s for s in schedulers if s.get('end', before) >= before]
    for scheduler in others:
        if scheduler.get('T_max') == before:
            scheduler.T_max = iterations
        elif scheduler.get('T_max') == before - scheduler.get('begin', 0) and 'end' in scheduler:
            del scheduler.T_max  # MMEngine's default is end - begin
        # a curve with end = before + 1 reaches its last factor where the run ends
        if scheduler.get('end') in (before, before + 1):
            scheduler.end += iterations - before
        if drops := scheduler.get('milestones'):
            scheduler.milestones = _moved(drops, before, iterations)
    # MMEngine counts milestones from begin
    firsts = [s.get('begin', 0) + min(s.milestones) for s in others if s.get('milestones')]
    warm_up = max((s.end for s in warm_ups), default=0)
    if warm_up > min([iterations, *firsts]):
        share = max(iterations / before, LEAST_WARM_UP * iterations / warm_up)
        _shorten_warm_up(cfg, warm_ups, others, share)


def _moved(drops: list[int], before: int, iterations: int) -> list[int]:
    if before - min(drops) <= iterations * 2 / 3:
        return [drop - before + iterations for drop in drops]
    # a drop at the end would never come
    return [max(1, min(round(drop * iterations / before), iterations - 1)) for drop in drops]


def _shorten_warm_up(
    cfg: Config, warm_ups: list[ConfigDict], others: list[ConfigDict], share: float
) -> None:
    """Shorten the warm-up to a share, and move other schedulers and drops behind it."""
    iterations = cfg.train_cfg.max_iters
    was = max(scheduler.end for scheduler in warm_ups) - 1
    for scheduler in warm_ups + others:
        begin = scheduler.get('begin', 0)
        if begin > 0:
            scheduler.begin = begin = max(1, round(begin * share))
        if scheduler in warm_ups:
            # a curve ends at iteration end - 1
            scheduler.end = max(begin + 1, 1, round((scheduler.end - 1) * share)) + 1
    end = max(scheduler.end for scheduler in warm_ups)
    for scheduler in others:
        first, last = (limit - scheduler.get('begin', 0) for limit in (end, iterations - 1))
        if first > last:
            raise InputError(
                f'--iterations {iterations}: {cfg.filename} has a warm-up, which takes one '
                f'iteration at least, and changes the learning rate after it: give more than {end}'
            )
        if drops := scheduler.get('milestones'):
            scheduler.milestones = [min(max(drop, first), last) for drop in drops]
    print_log(
        f'--iterations {iterations}: the warm-up is shortened from {was} iterations to {end - 1}',
        logger='current',
        level=logging.INFO,
    )


def _shorten(section: ConfigDict, key: str, most: int) -> None:
    if section.get(key, 0) > most:
        section[key] = most

"""The same recipe in another number of iterations."""

from mmengine.config import Config, ConfigDict

from mmscratch.batch_plan import schedulers_of
from mmscratch.errors import InputError


def set_iterations(cfg: Config, iterations: int) -> None:
    """Let a run end after so many iterations of the recipe's batch.

    Drops of the learning rate keep their distance from the end, as the paper's do in schedules of
    any length (section 3). Where the first would leave less of the run to the whole rate than the
    third that the paper's 1x leaves, all move in proportion. The warm-up stays as long as it is, a
    cascade starts in proportion. Validation and saving come nine times at least, as in 1x here.

    Args:
        cfg: changed in place, before :func:`mmscratch.batch_plan.plan_batch`.
        iterations: optimizer steps of ``auto_scale_lr.base_batch_size`` images.

    Raises:
        InputError: the first drop would come before the end of the warm-up, or there is no number
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
    hooks = cfg.get('default_hooks', {})
    _shorten(hooks.get('checkpoint') or {}, 'interval', interval)
    if cascade := hooks.get('start_cascade'):
        cascade.begin = cascade.begin * iterations // before
    schedulers = schedulers_of(cfg)
    warm_up = max((s.end for s in schedulers if s.get('end', before) < before), default=0)
    for scheduler in schedulers:
        if scheduler.get('end', before) < before:
            continue
        for key in ('end', 'T_max'):
            if scheduler.get(key) == before:
                scheduler[key] = iterations
        if drops := scheduler.get('milestones'):
            scheduler.milestones = _moved(drops, before, iterations)
            if scheduler.milestones[0] <= warm_up:
                raise InputError(
                    f'--iterations {iterations // passes}: the first drop of the learning rate '
                    f'would come at {scheduler.milestones[0] // passes}, and the warm-up of '
                    f'{cfg.filename} takes {warm_up // passes}; give more, or a shorter warm-up'
                )


def _moved(drops: list[int], before: int, iterations: int) -> list[int]:
    if before - drops[0] <= iterations * 2 / 3:
        return [drop - before + iterations for drop in drops]
    return [round(drop * iterations / before) for drop in drops]


def _shorten(section: ConfigDict, key: str, most: int) -> None:
    if section.get(key, 0) > most:
        section[key] = most

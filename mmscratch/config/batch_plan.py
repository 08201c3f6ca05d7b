"""The same recipe on any number of GPUs: batch, learning rate and iterations that fit together."""

from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, ConfigDict

from mmscratch.errors import InputError

# mmengine's schedulers that can be stretched: OneCycleLR's pct_start goes with its total_steps, and
# what a scheduler from elsewhere counts is not known.
_CURVES = 'Constant CosineAnnealing CosineRestart Exponential Linear MultiStep Poly Step'
_SCHEDULERS = frozenset(
    f'{curve}{kind}' for curve in _CURVES.split() for kind in ('LR', 'Momentum')
)


@dataclass(frozen=True)
class BatchPlan:
    """What will run; mmengine's iterations are ``steps * accumulation``."""

    gpus: int
    images_per_gpu: int
    accumulation: int
    lr: float
    steps: int

    @property
    def images_per_step(self) -> int:
        """Images that one optimizer step sees, over all GPUs."""
        return self.gpus * self.images_per_gpu * self.accumulation

    def describe(self, num_images: int) -> str:
        """One line for the log; ``num_images`` is the length of the training set."""
        product = f'{self.gpus} x {self.images_per_gpu}'
        if self.accumulation > 1:
            product += f' x {self.accumulation} accumulated'
        thousands = self.steps % 1000 == 0 and self.steps > 0
        steps = f'{self.steps // 1000}k' if thousands else str(self.steps)
        epochs = self.steps * self.images_per_step / num_images
        return (
            f'{self.images_per_step} images/step = {product}, lr {self.lr:g}, '
            f'{steps} iterations = {epochs:.1f} epochs of {num_images:,} images'
        )


def plan_batch(cfg: Config, gpus: int, policy: str) -> BatchPlan:
    """Change ``cfg`` so that its recipe runs on ``gpus`` GPUs, and say what will run.

    A config is written for ``auto_scale_lr.base_batch_size`` images a step, and for those that are
    taken at a time if it says no number. Its iterations count steps; or, as mmengine does, forward
    passes, if ``optim_wrapper.accumulative_counts`` says how many of them make a step. With fewer
    images at a time than a step has, ``policy``

    - ``'accumulate'`` adds up the gradients of several forward passes: every step sees the recipe's
      images at the recipe's learning rate. mmengine counts forward passes, so all numbers of
      iterations are multiplied. Statistics of BN and SyncBN are those of a single pass; GN doesn't
      mind.
    - ``'scale'`` keeps one pass a step, with the learning rate in proportion to the images of a
      step, and iterations, milestones, warm-up and intervals in inverse proportion (Goyal et al.
      2017). It is also the way to use more GPUs than the recipe has images.

    All numbers of iterations are those of train_cfg, of mmengine's schedulers, and of the hooks
    ``checkpoint``, ``logger`` and ``start_cascade``; custom hooks keep theirs.

    What comes out is a config as well: planned again for the same GPUs, it stays as it is, and for
    others it becomes what the first one would have, to the rounding of ``'scale'``.

    Raises:
        InputError: the recipe's batch is not a multiple of what the GPUs take at a time, it has a
            scheduler that is not known here, or mmengine would scale the learning rate as well.
    """
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(
            f'{cfg.filename}: train_cfg counts epochs; mmscratch trains by iterations: set '
            'train_cfg.max_iters (configs/_base_/schedules shows how)'
        )
    auto_scale_lr = cfg.get('auto_scale_lr') or {}
    if auto_scale_lr.get('enable'):
        raise InputError(
            f'{cfg.filename}: auto_scale_lr.enable=True has mmengine scale the learning rate a '
            'second time: set it to False, and choose with --batch'
        )
    images_per_gpu = cfg.train_dataloader.batch_size
    at_once = gpus * images_per_gpu
    passes = cfg.optim_wrapper.get('accumulative_counts', 1)
    recipe = auto_scale_lr.get('base_batch_size', at_once * passes)
    if policy == 'scale' and recipe != at_once:
        _scale(cfg, passes, recipe, at_once)
    elif recipe % at_once:
        raise InputError(
            f'{gpus} GPUs x {images_per_gpu} images = {at_once} images at a time do not '
            f"divide the recipe's {recipe} images a step: choose another "
            'train_dataloader.batch_size (--cfg-options), or --batch scale'
        )
    else:
        _accumulate(cfg, passes, recipe // at_once)
    passes = cfg.optim_wrapper.get('accumulative_counts', 1)
    steps = cfg.train_cfg.max_iters // passes
    return BatchPlan(gpus, images_per_gpu, passes, cfg.optim_wrapper.optimizer.lr, steps)


def _accumulate(cfg: Config, before: int, passes: int) -> None:
    """Make ``passes`` a step of ``before``."""
    if passes == before:
        return
    if passes == 1:
        cfg.optim_wrapper.pop('accumulative_counts')
    else:
        cfg.optim_wrapper.accumulative_counts = passes
    # The optimizer steps in the last pass of a step; a curve that starts there has the recipe's
    # value at every step.
    _stretch(cfg, passes / before, before - 1, passes - 1)


def _scale(cfg: Config, passes: int, recipe: int, images: int) -> None:
    """Let one pass of ``images`` be a step, where ``passes`` with ``recipe`` images were one."""
    _accumulate(cfg, passes, 1)
    _stretch(cfg, recipe / images)
    factor = images / recipe
    cfg.auto_scale_lr = dict(base_batch_size=images)
    cfg.optim_wrapper.optimizer.lr *= factor
    for scheduler in schedulers_of(cfg):
        # the lowest rate of a curve, which is no share of the optimizer's
        if scheduler.type.endswith('LR') and scheduler.get('eta_min'):
            scheduler.eta_min *= factor


def _stretch(cfg: Config, factor: float, later: int = 0, then_later: int = 0) -> None:
    """Multiply all numbers of iterations; curves that came ``later`` come ``then_later``."""
    for scheduler in schedulers_of(cfg):
        _require_known_iterations(cfg, scheduler)
        _stretch_scheduler(scheduler, factor, later, then_later)
    lengths = ('max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
    _multiply(cfg.train_cfg, lengths, factor)
    hooks = cfg.get('default_hooks') or {}
    _multiply(hooks.get('checkpoint') or {}, ('interval', 'save_begin'), factor)
    _multiply(hooks.get('logger') or {}, ('interval',), factor)
    _multiply(hooks.get('start_cascade') or {}, ('begin',), factor)
    _multiply(cfg.get('log_processor') or {}, ('window_size',), factor)


def _stretch_scheduler(scheduler: ConfigDict, factor: float, later: int, then_later: int) -> None:
    if 'Step' in scheduler.type:
        # Drops take effect from the first pass of their step.
        _multiply(scheduler, ('begin', 'end', 'milestones', 'step_size'), factor)
        return
    # a config from elsewhere that accumulates may begin its curves at 0
    begin, end = max(0, scheduler.get('begin', 0) - later), scheduler.get('end')
    if 'CosineAnnealing' in scheduler.type and end:
        scheduler.T_max = scheduler.get('T_max') or end - scheduler.get('begin', 0)
    if 'Exponential' in scheduler.type:
        scheduler.gamma **= 1 / factor
    _multiply(scheduler, ('T_max', 'periods'), factor)
    scheduler.begin = round(begin * factor) + then_later
    if end:
        # mmengine's curves end at iteration end - 1
        scheduler.end = round((end - 1 - later) * factor) + 1 + then_later


def _multiply(section: ConfigDict, keys: tuple[str, ...], factor: float) -> None:
    for key in keys:
        if section.get(key) is not None:
            section[key] = _product(section[key], factor)


def _product(value: Any, factor: float) -> Any:
    """Of a number, or of each in a list of them; 0 and -1, which says never, stay as they are."""
    if isinstance(value, list | tuple):
        return type(value)(_product(part, factor) for part in value)
    return max(1, round(value * factor)) if value > 0 else value


def schedulers_of(cfg: Config) -> list[ConfigDict]:
    """The config's schedulers, of which mmengine takes one, several or none."""
    schedulers = cfg.get('param_scheduler') or []
    return [schedulers] if isinstance(schedulers, dict) else schedulers


def _require_known_iterations(cfg: Config, scheduler: ConfigDict) -> None:
    if scheduler.get('by_epoch', True):
        raise InputError(
            f'{cfg.filename}: param_scheduler {scheduler.type} counts epochs in a run that counts '
            'iterations: give it by_epoch=False'
        )
    if scheduler.type not in _SCHEDULERS:
        raise InputError(
            f'{cfg.filename}: param_scheduler {scheduler.type} is not known to fit another batch: '
            'write it for the images that are taken at a time, and set '
            'auto_scale_lr.base_batch_size to them'
        )

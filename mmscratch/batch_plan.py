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

    A config is written for ``auto_scale_lr.base_batch_size`` images a step and counts its
    iterations in such steps. With fewer images at a time than that, ``policy``

    - ``'accumulate'`` adds up the gradients of several forward passes: every step sees the recipe's
      images at the recipe's learning rate. mmengine counts forward passes, so all numbers of
      iterations are multiplied. Statistics of BN and SyncBN are those of a single pass; GN doesn't
      mind.
    - ``'scale'`` keeps one pass a step, with the learning rate in proportion to the images of a
      step, and iterations, milestones, warm-up and intervals in inverse proportion (Goyal et al.
      2017). It is also the way to use more GPUs than the recipe has images.

    All numbers of iterations are those of train_cfg, of mmengine's schedulers, and of the hooks
    ``checkpoint``, ``logger`` and ``start_cascade``; custom hooks keep theirs.

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
    recipe = auto_scale_lr.get('base_batch_size', at_once)
    accumulation = 1
    if policy == 'accumulate':
        if recipe % at_once:
            raise InputError(
                f'{gpus} GPUs x {images_per_gpu} images = {at_once} images at a time do not '
                f"divide the recipe's {recipe} images a step: choose another "
                'train_dataloader.batch_size (--cfg-options), or --batch scale'
            )
        accumulation = recipe // at_once
        _accumulate(cfg, accumulation)
        steps = cfg.train_cfg.max_iters // accumulation
    else:
        _scale(cfg, at_once / recipe)
        steps = cfg.train_cfg.max_iters
    return BatchPlan(gpus, images_per_gpu, accumulation, cfg.optim_wrapper.optimizer.lr, steps)


def _accumulate(cfg: Config, passes: int) -> None:
    if passes == 1:
        return
    cfg.optim_wrapper.accumulative_counts = passes
    # The optimizer steps in the last pass of a step; a curve that starts there has the recipe's
    # value at every step.
    _stretch(cfg, passes, curves_later=passes - 1)


def _scale(cfg: Config, factor: float) -> None:
    if factor == 1:
        return
    _stretch(cfg, 1 / factor)
    cfg.optim_wrapper.optimizer.lr *= factor
    for scheduler in schedulers_of(cfg):
        # the lowest rate of a curve, which is no share of the optimizer's
        if scheduler.type.endswith('LR') and scheduler.get('eta_min'):
            scheduler.eta_min *= factor


def _stretch(cfg: Config, factor: float, curves_later: int = 0) -> None:
    """Multiply all numbers of iterations; curves come so many iterations later."""
    for scheduler in schedulers_of(cfg):
        _require_known_iterations(cfg, scheduler)
        _stretch_scheduler(scheduler, factor, curves_later)
    lengths = ('max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
    _multiply(cfg.train_cfg, lengths, factor)
    hooks = cfg.get('default_hooks', {})
    _multiply(hooks.get('checkpoint') or {}, ('interval', 'save_begin'), factor)
    _multiply(hooks.get('logger') or {}, ('interval',), factor)
    _multiply(hooks.get('start_cascade') or {}, ('begin',), factor)
    _multiply(cfg.get('log_processor') or {}, ('window_size',), factor)


def _stretch_scheduler(scheduler: ConfigDict, factor: float, later: int) -> None:
    if 'Step' in scheduler.type:
        # Drops take effect from the first pass of their step.
        _multiply(scheduler, ('begin', 'end', 'milestones', 'step_size'), factor)
        return
    begin, end = scheduler.get('begin', 0), scheduler.get('end')
    if 'CosineAnnealing' in scheduler.type and end:
        scheduler.T_max = scheduler.get('T_max') or end - begin
    if 'Exponential' in scheduler.type:
        scheduler.gamma **= 1 / factor
    _multiply(scheduler, ('T_max', 'periods'), factor)
    scheduler.begin = round(begin * factor) + later
    if end:
        # mmengine's curves end at iteration end - 1
        scheduler.end = round((end - 1) * factor) + 1 + later


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

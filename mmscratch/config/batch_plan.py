"""The same recipe on any number of GPUs: gradient accumulation, or another learning rate."""

import logging
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config.sections import type_name, walk
from mmscratch.errors import InputError

# MMEngine's schedulers that 'scale' knows; OneCycleLR's pct_start depends on its total_steps.
_CURVES = 'Constant CosineAnnealing CosineRestart Exponential Linear MultiStep Poly Step'
_SCHEDULERS = frozenset(
    f'{curve}{kind}' for curve in _CURVES.split() for kind in ('LR', 'Momentum')
)


@dataclass(frozen=True)
class BatchPlan:
    """What will run: ``steps`` iterations, each an optimizer step of ``accumulation`` passes."""

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
        steps = str(self.steps) if self.steps % 1000 else f'{self.steps // 1000}k'
        epochs = self.steps * self.images_per_step / num_images
        return (
            f'{self.images_per_step} images/step = {product}, lr {self.lr:g}, '
            f'{steps} iterations = {epochs:.1f} epochs of {num_images:,} images'
        )


def plan_batch(cfg: Config, gpus: int, policy: str) -> BatchPlan:
    """Change ``cfg`` so that its recipe runs on ``gpus`` GPUs, and say what will run.

    A config is written for ``auto_scale_lr.base_batch_size`` images a step, by default for those of
    its own batches. Its iterations are optimizer steps. If the GPUs take fewer images at a time
    than a step has, ``policy`` decides:

    - ``'accumulate'`` sets ``train_cfg.accumulation``, the passes of a step. Each step has the
      recipe's images and learning rate. Statistics of BN and SyncBN are those of a single pass; GN
      has none.
    - ``'scale'`` keeps one pass a step. The learning rate changes in proportion to the images of a
      step, and iterations, milestones, warm-up and intervals in inverse proportion (Goyal et al.
      2017, arXiv 1706.02677). This also uses more GPUs than the recipe has images.

    ``'scale'`` changes the iterations of train_cfg, of MMEngine's schedulers, and of the hooks
    ``checkpoint``, ``logger`` and ``start_cascade``, and the stages of ``ProgressiveResize``. Those
    of custom hooks stay.

    The changed config can be planned again. For the same GPUs it stays as it is. For others it
    becomes what the first config would become, to the rounding of ``'scale'``.

    Raises:
        InputError: the recipe's batch is not a multiple of what the GPUs take at a time, the
            training loop takes one pass a step, the config counts epochs or forward passes,
            ``'scale'`` does not know one of its schedulers, or MMEngine would scale the learning
            rate as well.
    """
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(
            f'{cfg.filename}: train_cfg counts epochs; mmscratch trains by iterations: set '
            'train_cfg.max_iters (configs/_base_/schedules shows how)'
        )
    if (passes := cfg.optim_wrapper.get('accumulative_counts', 1)) > 1:
        raise InputError(
            f'{cfg.filename}: optim_wrapper.accumulative_counts={passes} makes iterations forward '
            'passes, and here they are optimizer steps: remove it, divide all iterations by '
            f'{passes}, and set auto_scale_lr.base_batch_size to the images of a step'
        )
    auto_scale_lr = cfg.get('auto_scale_lr') or {}
    if auto_scale_lr.get('enable'):
        raise InputError(
            f'{cfg.filename}: auto_scale_lr.enable=True would scale the learning rate a second '
            'time: set it to False, and choose with --batch'
        )
    images_per_gpu = cfg.train_dataloader.batch_size
    at_once = gpus * images_per_gpu
    written = cfg.train_cfg.pop('accumulation', None)
    recipe = auto_scale_lr.get('base_batch_size', at_once * (written or 1))
    accumulation = recipe // at_once
    if policy == 'scale' and recipe != at_once:
        _scale(cfg, recipe, at_once)
        accumulation = 1
    elif recipe % at_once:
        raise InputError(
            f'{gpus} GPUs x {images_per_gpu} images = {at_once} images at a time do not '
            f"divide the recipe's {recipe} images a step: choose another "
            'train_dataloader.batch_size (--cfg-options), or --batch scale'
        )
    if accumulation > 1:
        if type_name(cfg.train_cfg) in ('', 'IterBasedTrainLoop'):
            raise InputError(
                f'{cfg.filename}: train_cfg is a loop that takes {at_once} of {recipe} images a '
                "step: set train_cfg.type='ResumableIterBasedTrainLoop', or give --batch scale"
            )
        cfg.train_cfg.accumulation = accumulation
    if written not in (None, accumulation):
        print_log(
            f'train_cfg.accumulation={written} becomes {accumulation}: the recipe has {recipe} '
            f'images a step (auto_scale_lr.base_batch_size), and {at_once} are taken at a time',
            logger='current',
            level=logging.WARNING,
        )
    lr = cfg.optim_wrapper.optimizer.lr
    return BatchPlan(gpus, images_per_gpu, accumulation, lr, cfg.train_cfg.max_iters)


def _scale(cfg: Config, recipe: int, images: int) -> None:
    """Change the images of a step from ``recipe`` to ``images``."""
    factor = recipe / images
    for scheduler in schedulers_of(cfg):
        _require_known_iterations(cfg, scheduler)
        _scale_scheduler(scheduler, factor)
    lengths = ('max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
    _multiply(cfg.train_cfg, lengths, factor)
    hooks = cfg.get('default_hooks') or {}
    _multiply(hooks.get('checkpoint') or {}, ('interval', 'save_begin'), factor)
    _multiply(hooks.get('logger') or {}, ('interval',), factor)
    _multiply(hooks.get('start_cascade') or {}, ('begin',), factor)
    for step in progressive_resizes(cfg):
        _multiply(step, ('begins',), factor)
    _multiply(cfg.get('log_processor') or {}, ('window_size',), factor)
    cfg.auto_scale_lr = dict(base_batch_size=images)
    cfg.optim_wrapper.optimizer.lr *= images / recipe


def _scale_scheduler(scheduler: ConfigDict, factor: float) -> None:
    begin, end = scheduler.get('begin', 0), scheduler.get('end')
    if 'CosineAnnealing' in scheduler.type and end:
        scheduler.T_max = scheduler.get('T_max') or end - begin
    if 'Exponential' in scheduler.type:
        scheduler.gamma **= 1 / factor
    _multiply(scheduler, ('begin', 'end', 'milestones', 'step_size', 'T_max', 'periods'), factor)
    if end and 'Step' not in scheduler.type:
        # MMEngine's curves end at iteration end - 1; one without a step would stay at its start
        scheduler.end = max(scheduler.get('begin', 0) + 2, round((end - 1) * factor) + 1)
    # the lowest rate of a curve is not relative to the optimizer's
    if scheduler.type.endswith('LR') and scheduler.get('eta_min'):
        scheduler.eta_min /= factor


def _multiply(section: ConfigDict, keys: tuple[str, ...], factor: float) -> None:
    for key in keys:
        if section.get(key) is not None:
            section[key] = _multiplied(section[key], factor)


def _multiplied(value: Any, factor: float) -> Any:
    """Multiply a number, or each in a list; 0 and -1, which means never, stay."""
    if isinstance(value, list | tuple):
        return type(value)(_multiplied(part, factor) for part in value)
    return max(1, round(value * factor)) if value > 0 else value


def schedulers_of(cfg: Config) -> list[ConfigDict]:
    """The config's schedulers; MMEngine accepts a list, a single one or None."""
    schedulers = cfg.get('param_scheduler') or []
    return [schedulers] if isinstance(schedulers, dict) else schedulers


def progressive_resizes(cfg: Config) -> list[dict[str, Any]]:
    """The ``ProgressiveResize`` steps of the training pipelines."""
    return [s for s in walk(cfg.get('train_dataloader')) if type_name(s) == 'ProgressiveResize']


def _require_known_iterations(cfg: Config, scheduler: ConfigDict) -> None:
    if scheduler.get('by_epoch', True):
        raise InputError(
            f'{cfg.filename}: param_scheduler {scheduler.type} counts epochs in a run that counts '
            'iterations: give it by_epoch=False'
        )
    if scheduler.type not in _SCHEDULERS:
        raise InputError(
            f'{cfg.filename}: --batch scale does not know what param_scheduler {scheduler.type} '
            'counts: leave out --batch, or write the scheduler for the images that are taken at a '
            'time and set auto_scale_lr.base_batch_size to them'
        )

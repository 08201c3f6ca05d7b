"""The same recipe on any number of GPUs: batch, learning rate and iterations that fit together."""

from dataclasses import dataclass

from mmengine.config import Config, ConfigDict

from mmscratch.errors import InputError


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

    Raises:
        InputError: the recipe's batch is not a multiple of what the GPUs take at a time.
    """
    if 'max_iters' not in cfg.train_cfg:
        raise InputError(
            f'{cfg.filename}: train_cfg counts epochs; mmscratch trains by iterations: set '
            'train_cfg.max_iters (configs/_base_/schedules shows how)'
        )
    images_per_gpu = cfg.train_dataloader.batch_size
    at_once = gpus * images_per_gpu
    recipe = cfg.get('auto_scale_lr', {}).get('base_batch_size', at_once)
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
    for scheduler in cfg.param_scheduler:
        _require_iterations(cfg, scheduler)
        # The optimizer steps in the last pass of a step; a curve that starts there has the recipe's
        # value at every step. Milestones take effect from the first pass of theirs.
        begin = scheduler.get('begin', 0) * passes
        scheduler.begin = begin if 'milestones' in scheduler else begin + passes - 1
        _multiply(scheduler, ('end', 'T_max'), passes)
        if 'milestones' in scheduler:
            scheduler.milestones = [milestone * passes for milestone in scheduler.milestones]
    _multiply_intervals(cfg, passes)


def _scale(cfg: Config, factor: float) -> None:
    if factor == 1:
        return
    cfg.optim_wrapper.optimizer.lr *= factor
    for scheduler in cfg.param_scheduler:
        _require_iterations(cfg, scheduler)
        if 'milestones' in scheduler:
            scheduler.milestones = [round(m / factor) for m in scheduler.milestones]
            _multiply(scheduler, ('begin', 'end'), 1 / factor)
        else:
            # mmengine's curves end at iteration end - 1
            scheduler.end = round((scheduler.end - 1) / factor) + 1
            _multiply(scheduler, ('begin', 'T_max'), 1 / factor)
    _multiply_intervals(cfg, 1 / factor)


def _multiply_intervals(cfg: Config, factor: float) -> None:
    _multiply(cfg.train_cfg, ('max_iters', 'val_interval'), factor)
    hooks = cfg.get('default_hooks', {})
    for name in ('checkpoint', 'logger'):
        _multiply(hooks.get(name) or {}, ('interval',), factor)
    _multiply(hooks.get('start_cascade') or {}, ('begin',), factor)
    _multiply(cfg.get('log_processor') or {}, ('window_size',), factor)


def _multiply(section: ConfigDict, keys: tuple[str, ...], factor: float) -> None:
    for key in keys:
        if section.get(key):
            section[key] = max(1, round(section[key] * factor))


def _require_iterations(cfg: Config, scheduler: ConfigDict) -> None:
    if scheduler.get('by_epoch', True):
        raise InputError(
            f'{cfg.filename}: param_scheduler {scheduler.type} counts epochs in a run that counts '
            'iterations: give it by_epoch=False'
        )

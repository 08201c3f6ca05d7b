"""Stop a training run that has diverged."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from mmscratch.errors import InputError
from mmscratch.loops import bad_step
from mmscratch.loops.runner_state import bare_model


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first step whose loss or gradient is NaN or infinite, before it does harm.

    Such a step destroys the weights, so all later iterations would be wasted. The optimizer gets no
    gradient of it. The hook writes the step into ``bad_step.pt`` in the work directory, with the
    weights before it, and stops the run. ``tools/analysis/replay.py`` takes the step again. All
    GPUs stop together, since :class:`MeanOverRanksHook` gives them the same losses.

    With ``skip`` the run goes on without that step. Weights, buffers and optimizer stay as they
    were before it. Checkpoints have the number of skipped steps in ``meta.skipped_steps``.

    A gradient scaler (``--amp``) skips such a step by itself, and halves its scale. The run then
    stops after ``max_skipped`` of them in a row. A healthy run begins with a few.

    The log gets ``grad_norm``, the norm of all gradients before they are clipped.

    MMDetection's CheckInvalidLossHook checks every 50th iteration only, after the optimizer's step,
    and its traceback names neither the loss nor the images.

    Args:
        max_skipped: iterations in a row that a gradient scaler may skip, 1 or more.
        skip: steps without a scaler that the whole run may skip; with 0 it stops at the first one.

    Example:
        >>> default_hooks = dict(finite_loss=dict(type='FiniteLossHook', skip=20))
    """

    # after MeanOverRanksHook, and before RuntimeInfoHook, which logs the losses
    priority = 'HIGHEST'

    def __init__(self, max_skipped: int = 10, skip: int = 0) -> None:
        self.max_skipped = max_skipped
        self.skip = skip
        self.skipped_steps = 0
        self._in_a_row = 0
        self._images_before = ''
        self._norm: float | None = None
        self._buffers: list[torch.Tensor] = []
        self._is_saved = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read how many steps the resumed run has skipped."""
        if runner._resume:
            self.skipped_steps = checkpoint['meta'].get('skipped_steps', 0)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save how many steps were skipped."""
        checkpoint['meta']['skipped_steps'] = self.skipped_steps

    def before_train(self, runner: Runner) -> None:
        """Look at the loss before each backward pass, and at the gradients after it."""
        wrapper = runner.optim_wrapper
        vars(wrapper)['update_params'] = partial(_update_params, wrapper.update_params)
        wrapper.optimizer.register_step_pre_hook(partial(self._before_step, runner))
        vars(wrapper)['_clip_grad'] = partial(self._clip_grad, runner, wrapper._clip_grad)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the buffers, which the forward pass changes, if the step may be skipped."""
        self._norm = None
        if self.skip or _is_scaled(runner):
            self._buffers = [buffer.clone() for buffer in bare_model(runner).buffers()]

    def _clip_grad(self, runner: Runner, clip: Callable) -> None:
        """Look at the gradients first: clipping by value makes infinite ones finite."""
        self._before_step(runner, runner.optim_wrapper.optimizer)
        clip()

    def _before_step(self, runner: Runner, optimizer: Optimizer, *args: Any) -> None:
        """Log the norm of the gradients, or remove them if it is not finite."""
        if self._norm is not None:  # clipped; a class and its parent both call the hook
            return
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        self._norm = get_total_norm(gradients).item() if gradients else 0.0
        # a gradient scaler leaves the division to a fused optimizer
        if (scale := getattr(optimizer, 'grad_scale', None)) is not None:
            self._norm /= float(scale)
        if not math.isfinite(self._norm):
            for weight in weights:
                weight.grad = None
        elif getattr(runner.optim_wrapper, 'grad_name', '') != 'grad_norm':
            runner.message_hub.update_scalar('train/grad_norm', self._norm)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check the losses in ``outputs``, scalar tensors by name, and the gradient.

        A skipped step has no outputs for the hooks after this one.

        Raises:
            InputError: one is not finite. The error names the loss, the iteration, the images
                and cures.
        """
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        values = []
        if losses:
            # stacked, since each `item()` would wait for the GPU
            stacked = torch.stack([v.detach().float().reshape(()) for v in losses.values()])
            values = stacked.tolist()
        now = dict(zip(losses, values))
        broken = {name: value for name, value in now.items() if not math.isfinite(value)}
        # a gradient scaler that skips the step does not call the optimizer
        is_left_out = _is_scaled(runner) if self._norm is None else not math.isfinite(self._norm)
        images = _image_names(data_batch)
        if not broken and not is_left_out:
            self._in_a_row = 0
            self._images_before = images
            return
        self._in_a_row += 1
        if self._buffers:
            for buffer, kept in zip(bare_model(runner).buffers(), self._buffers):
                buffer.copy_(kept)
        if _is_scaled(runner) and self._in_a_row < self.max_skipped:
            return
        # the parts say more than their sum
        parts = {name: value for name, value in broken.items() if name != 'loss'} or broken
        norm = 'not finite' if self._norm is None else self._norm
        parts = parts or {'the norm of the gradient': norm}
        what = ', '.join(f'{name} is {value}' for name, value in parts.items())
        # if all losses are broken, the weights of the step before may have overflowed
        if len(broken) == len(losses) > 2 and self._images_before:
            images = f'after a step {self._images_before}'
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        text = (
            f'iteration {runner.iter + 1:,}: {what}, at learning rate {rate:.4g}'
            f'{images and f", {images}"}'
        )
        if is_left_out and self.skipped_steps < self.skip:
            self.skipped_steps += 1
            runner.logger.warning(
                f'{text}: skipped, as {self.skipped_steps} of at most {self.skip} steps'
                f'{self._saved(runner, data_batch, now)}'
            )
            outputs.clear()
            return
        after = f', after {self.skipped_steps} skipped steps' if self.skipped_steps else ''
        cure = (
            'go on from the last checkpoint (--resume) with'
            if (Path(runner.work_dir) / 'last_checkpoint').exists()
            else 'begin again with a lower learning rate, a longer warm-up or'
        )
        raise InputError(
            f'{text}{after}{self._saved(runner, data_batch, now)}; look at the boxes there, and '
            f'{cure} clipped gradients, --cfg-options optim_wrapper.clip_grad.max_norm=35'
        )

    def _saved(self, runner: Runner, batch: Any, losses: dict[str, float]) -> str:
        """Save the first such step, and say so."""
        if self._is_saved:
            return ''
        self._is_saved = True
        try:
            file = bad_step.save(runner, batch, losses)
        except InputError as error:
            return f'; {error}'
        return f'; tools/analysis/replay.py {file} takes the step again, and looks for the cause'


def _update_params(update: Callable, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
    """Replaces ``update_params``: if the loss is not finite, no gradient is, on all GPUs.

    Some are where the loss is not: infinity times a weight of 0 is NaN, and has a gradient of 0.
    """
    if loss.requires_grad:
        is_finite = loss.detach().isfinite()
        loss.register_hook(lambda gradient: torch.where(is_finite, gradient, math.nan))
    update(loss, *args, **kwargs)


def _is_scaled(runner: Runner) -> bool:
    """Whether a gradient scaler is at work; with bfloat16 there is one, which is off."""
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _image_names(batch: Any) -> str:
    """Return the batch's image files as ``on a.jpg, b.jpg``, or nothing without file names."""
    samples = batch.get('data_samples', ()) if isinstance(batch, Mapping) else ()
    files = [sample.img_path for sample in samples if hasattr(sample, 'img_path')]
    return f'on {", ".join(Path(file).name for file in files)}' if files else ''

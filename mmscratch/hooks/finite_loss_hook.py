"""Stop a training run that has diverged."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.errors import InputError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first loss that is NaN or infinite.

    The step of such a loss destroys the weights, so all later iterations would be wasted. The hook
    stops the run before the iteration's checkpoint is written. It stops all GPUs together, since
    :class:`MeanOverRanksHook` gives them the same losses.

    A gradient scaler (``--amp``) skips such a step, which does no harm. The run then stops after
    ``max_skipped`` of them in a row.

    MMDetection's CheckInvalidLossHook checks every 50th iteration only, and its traceback names
    neither the loss nor the images.

    Args:
        max_skipped: iterations in a row, 1 or more.

    Example:
        >>> default_hooks = dict(finite_loss=dict(type='FiniteLossHook', max_skipped=20))
    """

    def __init__(self, max_skipped: int = 10) -> None:
        self.max_skipped = max_skipped
        self._in_a_row = 0
        self._images_before = ''

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check the losses in ``outputs``, scalar tensors by name.

        Raises:
            InputError: a loss is not finite. The error names the loss, the iteration, the images
                and cures.
        """
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        if not losses:
            return
        # stacked, since each `item()` would wait for the GPU
        values = torch.stack([value.detach().float().reshape(()) for value in losses.values()])
        broken = {
            name: value for name, value in zip(losses, values.tolist()) if not math.isfinite(value)
        }
        images = _image_names(data_batch)
        if not broken:
            self._in_a_row = 0
            self._images_before = images
            return
        self._in_a_row += 1
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        # with bfloat16 there is one, which is off
        if scaler is not None and scaler.is_enabled() and self._in_a_row < self.max_skipped:
            return
        # the parts say more than their sum
        parts = {name: value for name, value in broken.items() if name != 'loss'} or broken
        what = ', '.join(f'{name} is {value}' for name, value in parts.items())
        # if all losses are broken, the gradients of the step before may have overflowed
        if len(broken) == len(losses) > 2 and self._images_before:
            images = f'after a step {self._images_before}'
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        cure = (
            'go on from the last checkpoint (--resume) with'
            if (Path(runner.work_dir) / 'last_checkpoint').exists()
            else 'begin again with a lower learning rate, a longer warm-up or'
        )
        raise InputError(
            f'iteration {runner.iter + 1:,}: {what}, at learning rate {rate:.4g}'
            f'{images and f", {images}"}; look at the boxes there, and {cure} clipped gradients, '
            '--cfg-options optim_wrapper.clip_grad.max_norm=35'
        )


def _image_names(batch: Any) -> str:
    """Return the batch's image files as ``on a.jpg, b.jpg``, or nothing without file names."""
    samples = batch.get('data_samples', ()) if isinstance(batch, Mapping) else ()
    files = [sample.img_path for sample in samples if hasattr(sample, 'img_path')]
    return f'on {", ".join(Path(file).name for file in files)}' if files else ''

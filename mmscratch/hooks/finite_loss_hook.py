"""An end to a training that has diverged."""

import math
from collections.abc import Mapping, Sequence
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

    Weights that were updated by it are lost, and with them all further iterations, however many a
    schedule still has. The hook runs before the iteration's checkpoint is written, and on all GPUs
    at once, since :class:`MeanOverRanksHook` gives them the same losses.

    With a gradient scaler (``--amp float16``) such a step is left out by the scaler and costs
    nothing, so that only ``max_skipped`` of them in a row end the run.

    MMDetection's CheckInvalidLossHook looks at every 50th iteration alone, and ends in a traceback
    that names nothing.

    Args:
        max_skipped: iterations in a row, 1 or more.
    """

    def __init__(self, max_skipped: int = 10) -> None:
        self.max_skipped = max_skipped
        self._in_a_row = 0
        self._images_before = ''

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Look at the losses in ``outputs``, scalar tensors.

        Raises:
            InputError: one is not finite; which one, where, on which images, and what may help.
        """
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        if not losses:
            return
        # in one go: each that is asked alone would wait for the GPU
        values = torch.stack([value.detach().float().reshape(()) for value in losses.values()])
        broken = {
            name: value for name, value in zip(losses, values.tolist()) if not math.isfinite(value)
        }
        images = _images(data_batch)
        if not broken:
            self._in_a_row = 0
            self._images_before = images
            return
        self._in_a_row += 1
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        # with bfloat16 it is there, and off
        skips = scaler is not None and scaler.is_enabled()
        if skips and self._in_a_row < self.max_skipped:
            return
        # the sum of all says no more than its parts
        parts = {name: value for name, value in broken.items() if name != 'loss'} or broken
        what = ', '.join(f'{name} is {value}' for name, value in parts.items())
        # gradients may overflow where losses do not; no loss of the next step is finite then
        if len(broken) == len(losses) > 2 and self._images_before:
            images = f', after a step{self._images_before}'
        elif images:
            images = f',{images}'
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        cure = (
            'go on from the last checkpoint (--resume) with'
            if (Path(runner.work_dir) / 'last_checkpoint').exists()
            else 'begin again with a lower learning rate, a longer warm-up or'
        )
        raise InputError(
            f'iteration {runner.iter + 1:,}: {what}, at learning rate {rate:.4g}'
            f'{images}; look at the boxes there, and {cure} clipped gradients, '
            '--cfg-options optim_wrapper.clip_grad.max_norm=35'
        )


def _images(batch: Any) -> str:
    """The names of a batch's image files, where they have any."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if not isinstance(samples, Sequence):
        return ''
    files = [file for sample in samples if (file := getattr(sample, 'img_path', None))]
    return f' on {", ".join(Path(file).name for file in files)}' if files else ''

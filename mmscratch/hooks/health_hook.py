"""Warn of what comes before a run is lost: exploding gradients, dead norm layers."""

from functools import partial
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmscratch.hooks.preflight_hook import norm_layers
from mmscratch.loops.runner_state import bare_model

RECENT, BEFORE, LEAST = 5, 100, 20  # iterations
DEAD = 1e-3


@HOOKS.register_module()
class HealthHook(Hook):
    """Warn of exploding gradients, and of norm layers that give a constant.

    - **Exploding gradients.** The ``grad_norm`` of each of the last 5 iterations is more than
      ``rise`` times the median of up to 100 iterations before them, of at least 20. Single large
      gradients are no harm. It is told once in 100 iterations.
    - **Dead norm layers.** In all calls of an iteration, each channel of the output of a GN, BN or
      IN layer has a standard deviation over images and places below 0.001: the weight is about 0,
      or the input is constant. The layers behind learn nothing from the image. LayerNorm is not
      looked at. A layer is told once. A residual block may begin with a weight of 0, so a run is
      looked at only every ``interval`` iterations.

    Training stays the same to the last bit.

    Args:
        rise: factor.
        interval: iterations between two looks at the norm layers.

    Example:
        >>> default_hooks = dict(health=dict(type='HealthHook', interval=1000))
    """

    def __init__(self, rise: float = 5.0, interval: int = 500) -> None:
        self.rise = rise
        self.interval = interval
        self._told_at = -BEFORE
        self._dead: set[str] = set()
        self._spreads: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the norm layers' outputs in an iteration that ``interval`` divides."""
        if (runner.iter + 1) % self.interval or not is_main_process():
            return
        self._spreads = {}
        for name, layer in norm_layers(bare_model(runner)).items():
            if layer.training and not isinstance(layer, nn.LayerNorm):
                hook = partial(self._add, name)
                self._handles.append(layer.register_forward_hook(hook))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Warn, if there is something to warn of."""
        if not is_main_process():
            return
        self._tell_rise(runner)
        if self._handles:
            for handle in self._handles:
                handle.remove()
            self._handles = []
            self._tell_dead(runner)

    def _tell_rise(self, runner: Runner) -> None:
        history = runner.message_hub.log_scalars.get('train/grad_norm')
        norms = history.data[0][-RECENT - BEFORE :] if history else np.zeros(0)
        norms = norms[np.isfinite(norms)]  # steps that were left out
        if len(norms) < RECENT + LEAST or runner.iter < self._told_at + BEFORE:
            return
        least, before = min(norms[-RECENT:]), np.median(norms[:-RECENT])
        if least > self.rise * before:
            self._told_at = runner.iter
            runner.logger.warning(
                f'iteration {runner.iter + 1:,}: the gradients explode: their norm is {least:.3g} '
                f'or more, and was {before:.3g}; if the loss rises too, stop the run, and begin '
                'with a lower learning rate, a longer warm-up or clipped gradients, '
                f'--cfg-options optim_wrapper.clip_grad.max_norm={3 * before:.2g}'
            )

    def _add(self, name: str, layer: nn.Module, args: tuple, output: Tensor) -> None:
        # a single value a channel has no spread
        if output.numel() > output.shape[1]:
            others = [axis for axis in range(output.ndim) if axis != 1]
            spread = output.detach().std(others, correction=0).max()
            self._spreads[name] = torch.maximum(self._spreads.get(name, spread), spread)

    def _tell_dead(self, runner: Runner) -> None:
        spreads = torch.stack([*self._spreads.values()]).tolist() if self._spreads else []
        dead = {name for name, spread in zip(self._spreads, spreads) if spread < DEAD}
        if new := sorted(dead - self._dead):
            self._dead |= dead
            runner.logger.warning(
                f'iteration {runner.iter + 1:,}: {len(new)} norm layers give a constant whatever '
                f'the image, the first is {new[0]}: is its weight 0, or are all of its inputs? Try '
                'a lower learning rate, a longer warm-up or less weight decay'
            )

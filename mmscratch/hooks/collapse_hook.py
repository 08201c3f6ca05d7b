"""Stop a contrastive pre-training whose embeddings have become the same."""

from collections import defaultdict, deque
from statistics import fmean
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.errors import InputError

WINDOW = 20  # iterations whose mean counts


@HOOKS.register_module()
class CollapseHook(Hook):
    """Stop if the embeddings of all images are the same, which a low loss does not show.

    The hook reads the model's outputs ``..._spread``: the standard deviation of embeddings of
    length 1 over a batch, relative to 1 / sqrt(dimensions), so that 0 is a collapse and 1 a uniform
    distribution (:func:`mmscratch.models.dense_cl.spread`). The mean of the last 20 iterations
    counts. If it is below ``least``, the hook warns once before iteration ``warm_up``, since
    embeddings of random weights are much alike, and stops the run after it.

    Args:
        least: spread below which the embeddings have collapsed.
        warm_up: iterations; in a shorter run, the last one is judged.

    Example:
        >>> default_hooks = dict(collapse=dict(type='CollapseHook', warm_up=500))
    """

    def __init__(self, least: float = 0.05, warm_up: int = 200) -> None:
        self.least = least
        self.warm_up = warm_up
        self._spreads: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._has_warned = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Judge the spreads in ``outputs``.

        Raises:
            InputError: the embeddings have collapsed.
        """
        iteration = runner.iter + 1
        for name, value in (outputs or {}).items():
            if not name.endswith('_spread'):
                continue
            spreads = self._spreads[name]
            spreads.append(float(value))
            if len(spreads) < min(WINDOW, runner.max_iters) or fmean(spreads) >= self.least:
                continue
            text = (
                f'iteration {iteration:,}: the embeddings are nearly the same for all images: '
                f'{name} is {fmean(spreads):.3f}, and below {self.least:g} is a collapse'
            )
            if iteration >= min(self.warm_up, runner.max_iters):
                raise InputError(
                    f'{text}; look for images that are all alike, and begin again with a lower '
                    'learning rate (optim_wrapper.optimizer.lr) or a higher model.temperature'
                )
            if not self._has_warned:
                self._has_warned = True
                runner.logger.warning(
                    f'{text}; the run ends if this lasts until iteration {self.warm_up:,}'
                )

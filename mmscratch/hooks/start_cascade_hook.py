"""Train Mask R-CNN first and Cascade R-CNN later, in one run."""

from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.errors import InputError
from mmscratch.models.single_mask_cascade_roi_head import SingleMaskCascadeRoIHead


@HOOKS.register_module()
class StartCascadeHook(Hook):
    """Train stage 1 of a ``SingleMaskCascadeRoIHead`` alone until ``begin``, then all stages.

    The paper (figure 5) switches models from random initialization to Cascade R-CNN for the last
    270k iterations. Weights, optimizer and schedule continue; only the later stages are new. The
    iteration alone decides which stages are trained, so a run can be resumed in either phase. A
    test takes the phase from the checkpoint.

    Stages that wait get no gradients. SGD does not change them, neither by weight decay nor by
    momentum. DistributedDataParallel needs ``find_unused_parameters=True`` for it.

    Args:
        begin: the first iteration, counted from 0, that trains all stages; 0 trains a cascade from
            the start. ``tools/train.py --batch scale`` scales it like all numbers of iterations.

    Raises:
        InputError: ``begin`` is negative, or the model has no ``SingleMaskCascadeRoIHead``.

    Example:
        >>> default_hooks = dict(
        ...     start_cascade=dict(type='StartCascadeHook', begin=270_000))
    """

    def __init__(self, begin: int) -> None:
        if begin < 0:
            raise InputError(f'StartCascadeHook: begin={begin} is negative; give 0 or more')
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        """Set the phase of the last iteration, which a validation before the next one is of."""
        self._activate(runner, max(0, runner.iter - 1))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the phase of this iteration; a skipped step may have taken back that of the last."""
        stages = self._activate(runner, runner.iter)
        if runner.iter == self.begin:
            runner.logger.info(f'iteration {self.begin}: the cascade starts, {stages} box stages')

    def _activate(self, runner: Runner, iteration: int) -> int:
        """Set the number of active stages of an iteration, and return it."""
        heads = [m for m in runner.model.modules() if isinstance(m, SingleMaskCascadeRoIHead)]
        if not heads:
            raise InputError(
                'StartCascadeHook: the model has no SingleMaskCascadeRoIHead; remove the hook, or '
                "set model.roi_head.type='SingleMaskCascadeRoIHead'"
            )
        for head in heads:
            stages = head.num_stages if iteration >= self.begin else 1
            head.active_stages.fill_(stages)
        return stages

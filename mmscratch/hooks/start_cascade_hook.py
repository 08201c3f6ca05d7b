"""Plain Mask R-CNN first, Cascade R-CNN later, in one run."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.errors import InputError
from mmscratch.models.single_mask_cascade_roi_head import SingleMaskCascadeRoIHead


@HOOKS.register_module()
class StartCascadeHook(Hook):
    """Train stage 1 of a ``SingleMaskCascadeRoIHead`` alone until ``begin``, then all stages.

    Paper, figure 5: models from random initialization are switched to Cascade R-CNN for the last
    270k iterations. Weights, optimizer and schedule go on; only the later stages are new. What is
    trained depends on the iteration alone, so that a run can be resumed in either phase. Testing
    takes the phase from the checkpoint.

    Stages that wait have no gradients: SGD leaves them as they were initialized, without weight
    decay and momentum. DistributedDataParallel needs ``find_unused_parameters=True`` for it.

    Args:
        begin: the first iteration, counted from 0, that trains all stages; 0: a cascade from the
            start. ``tools/train.py --batch scale`` multiplies it like all numbers of iterations.

    Raises:
        InputError: ``begin`` is negative; the model has no ``SingleMaskCascadeRoIHead``.
    """

    def __init__(self, begin: int) -> None:
        if begin < 0:
            raise InputError(f'StartCascadeHook: begin={begin} is negative; 0 is the start')
        self.begin = begin

    def before_train(self, runner: Runner) -> None:
        """Set the phase in which the run starts or goes on."""
        self._activate(runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Switch at ``begin``."""
        if runner.iter == self.begin:
            stages = self._activate(runner)
            runner.logger.info(f'iteration {self.begin}: the cascade starts, {stages} box stages')

    def _activate(self, runner: Runner) -> int:
        """Set the number of active stages, and return it."""
        # through wrappers too
        heads = [m for m in runner.model.modules() if isinstance(m, SingleMaskCascadeRoIHead)]
        if not heads:
            raise InputError(
                'StartCascadeHook: the model has no SingleMaskCascadeRoIHead; remove the hook, or '
                "set model.roi_head.type='SingleMaskCascadeRoIHead'"
            )
        for head in heads:
            stages = head.num_stages if runner.iter >= self.begin else 1
            head.active_stages.fill_(stages)
        return stages

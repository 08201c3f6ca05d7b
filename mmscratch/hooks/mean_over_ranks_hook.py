"""Average logged losses over GPUs, and give all GPUs the same buffers for validation."""

from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class MeanOverRanksHook(Hook):
    """Replace each logged number of an iteration by its mean over all ranks.

    MMEngine logs the losses of rank 0, which on 8 GPUs are those of an eighth of the step's images.
    With this hook a distributed run logs the same losses as one process that takes the same images
    in passes.

    Before a validation rank 0 broadcasts its buffers, such as BN's running statistics, which differ
    between ranks. So every rank validates the model that rank 0 saves.
    """

    # before RuntimeInfoHook, which logs the numbers
    priority = 'HIGHEST'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Average ``outputs`` in place: scalar tensors by name, the same names on every rank."""
        if get_world_size() == 1 or not outputs:
            return
        means = torch.stack([value.detach().float().reshape(()) for value in outputs.values()])
        all_reduce(means, op='mean')
        outputs.update(zip(outputs, means))

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast rank 0's buffers, in place."""
        for buffer in runner.model.buffers():
            broadcast(buffer, src=0)

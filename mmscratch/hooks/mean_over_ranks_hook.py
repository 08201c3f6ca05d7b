"""Losses and validations that speak of all GPUs."""

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class MeanOverRanksHook(Hook):
    """Put the mean over all ranks in place of each logged number of an iteration.

    MMEngine logs what rank 0 computed on its own images: an eighth of a step on 8 GPUs. With this
    hook the log of a distributed run is that of one process that takes the same images in passes.

    Before a validation all ranks get rank 0's buffers, BN's running statistics above all, which
    differ between ranks: every rank validates the model that rank 0 saves.
    """

    # before RuntimeInfoHook, which takes the numbers to the log
    priority = 'HIGHEST'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Average ``outputs``, scalar tensors with the same names on every rank, in place."""
        if get_world_size() == 1 or not outputs:
            return
        means = torch.stack([value.detach().float().reshape(()) for value in outputs.values()])
        all_reduce(means, op='mean')
        outputs.update(zip(outputs, means))

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast rank 0's buffers, in place."""
        if get_world_size() == 1:
            return
        for buffer in runner.model.buffers():
            broadcast(buffer, src=0)

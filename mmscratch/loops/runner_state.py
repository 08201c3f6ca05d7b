"""What several hooks ask of a Runner: its bare model, its batch, the file that it has loaded."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """Return the model without its wrapper for distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def batch_of(runner: Runner) -> dict:
    """Return processes, images of each in a pass (0: not known), and passes of a step."""
    return dict(
        gpus=runner.world_size,
        images_per_gpu=getattr(runner.train_dataloader.batch_sampler, 'batch_size', 0),
        accumulation=getattr(runner.train_loop, 'accumulation', 1),
    )


def images_per_step(batch: dict) -> int:
    """Return the images of an optimizer step, over all processes."""
    return batch['gpus'] * batch['images_per_gpu'] * batch['accumulation']


def loaded_file(runner: Runner) -> str:
    """Return the name of the loaded checkpoint, for messages.

    A Runner that resumes without a name takes the last checkpoint of its work directory.
    """
    return str(runner._load_from or find_latest_checkpoint(runner.work_dir))

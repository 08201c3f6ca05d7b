"""Read the state of a Runner that several hooks need."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """Return the model without its wrapper for distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def loaded_file(runner: Runner) -> str:
    """Return the name of the loaded checkpoint, for messages.

    ``tools/train.py`` always sets it. Without it a Runner resumes the last checkpoint of its work
    directory.
    """
    return str(runner._load_from or find_latest_checkpoint(runner.work_dir))

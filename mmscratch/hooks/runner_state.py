"""What several hooks ask a Runner for."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """Return the model without its wrapper for distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def loaded_file(runner: Runner) -> str:
    """Return the name of the checkpoint that the run begins with or goes on from, for messages.

    ``tools/train.py`` always names it. A Runner that resumes without a name takes the last one of
    its work directory.
    """
    return str(runner._load_from or find_latest_checkpoint(runner.work_dir))

"""Name the image in errors of data pipelines."""

from typing import Any

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

import mmscratch.data.transforms  # noqa: F401  its corrections must reach spawned workers too
from mmscratch.data.annotation_file import inner_datasets
from mmscratch.errors import InputError, describe, is_bug


class NamedErrorsHook(Hook):
    """Add the image's name to the errors of data pipelines.

    An image may vanish or break during a run. The error comes from a worker, and names neither the
    image nor a cure. ``tools/train.py`` and ``tools/test.py`` add this hook.
    """

    def before_run(self, runner: Runner) -> None:
        """Wrap the pipelines of all data sets, before workers start."""
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                for dataset in inner_datasets(loop.dataloader.dataset):
                    dataset.pipeline = NamedErrors(dataset.pipeline)


class NamedErrors(Compose):
    """A pipeline whose errors name the image.

    Args:
        pipeline: the transforms to run.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict) -> Any:
        """Run the pipeline on one image's data.

        Raises:
            InputError: a library's transform failed. A bug of this project is raised unchanged.
        """
        try:
            return super().__call__(data)
        except Exception as error:
            if isinstance(error, InputError) or is_bug(error):
                raise
            raise InputError(
                f'{data.get("img_path")} cannot be used ({describe(error)}): replace the image, '
                'correct its annotation, or remove both'
            ) from error

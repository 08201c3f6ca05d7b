"""Errors of loading that name the image."""

from typing import Any

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

import mmscratch.transforms  # noqa: F401  a worker that is spawned needs it mended, too
from mmscratch.data.annotation_file import inner_datasets
from mmscratch.errors import InputError, describe, is_bug


class NamedErrorsHook(Hook):
    """Let an error in a data pipeline say which image it came from.

    A file that vanishes or breaks while a run goes on is met in a worker, whose error says neither
    which image it was nor what to do. ``tools/train.py`` and ``tools/test.py`` add the hook.
    """

    def before_run(self, runner: Runner) -> None:
        """Wrap the pipelines of all data sets, before the workers get them."""
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                for dataset in inner_datasets(loop.dataloader.dataset):
                    dataset.pipeline = NamedErrors(dataset.pipeline)


class NamedErrors(Compose):
    """The transforms of another pipeline, with errors that name the image.

    Args:
        pipeline: what is to be run.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict) -> Any:
        """Run the pipeline on one image's data.

        Raises:
            InputError: a transform of a library failed; a bug of this project stays what it is.
        """
        try:
            return super().__call__(data)
        except InputError:
            raise
        except Exception as error:
            if is_bug(error):
                raise
            raise InputError(
                f'{data.get("img_path")} cannot be used ({describe(error)}): replace the image or '
                'correct its annotation, or take it out'
            ) from error

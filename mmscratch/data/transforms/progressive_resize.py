"""Train on small images first."""

from collections.abc import Sequence

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from mmscratch.data.seeded_dataset import current_step
from mmscratch.errors import InputError


@TRANSFORMS.register_module()
class ProgressiveResize(Resize):
    """``Resize(keep_ratio=True)`` whose scale depends on the optimizer step (progressive resizing).

    Small images cost less, so that a run takes more steps in the same time. The step alone decides
    the scale, so a resumed run equals one that was not stopped. ``--iterations`` and ``--batch
    scale`` move the stages in proportion.

    Args:
        scales: (long side, short side) in pixels of each stage.
        begins: the first step of each stage, rising from 0.

    Raises:
        InputError: ``begins`` does not rise from 0 or has not one number a scale; or the loop is
            not ``ResumableIterBasedTrainLoop``, which tells the step.

    Example:
        >>> train_pipeline = [..., dict(type='ProgressiveResize',
        ...                             scales=[(667, 400), (1333, 800)], begins=[0, 90_000])]
    """

    def __init__(self, scales: Sequence[tuple[int, int]], begins: Sequence[int]) -> None:
        # equal ones, as of a very short run, leave out a scale
        if len(begins) != len(scales) or begins[0] != 0 or sorted(begins) != list(begins):
            raise InputError(
                f'ProgressiveResize: begins={list(begins)} is to rise from 0, with one number for '
                f'each of the {len(scales)} scales'
            )
        super().__init__(scale=tuple(scales[0]), keep_ratio=True)
        self.scales = [tuple(scale) for scale in scales]
        self.begins = list(begins)

    def transform(self, results: dict) -> dict:
        """Resize to the scale of the present step."""
        step = current_step.get(None)
        if step is None:
            raise InputError(
                'ProgressiveResize: the step is unknown; set train_cfg.type='
                "'ResumableIterBasedTrainLoop'"
            )
        self.scale = self.scales[sum(begin <= step for begin in self.begins) - 1]
        return super().transform(results)

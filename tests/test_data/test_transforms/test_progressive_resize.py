import numpy as np
import pytest
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmscratch.data.transforms import ProgressiveResize
from mmscratch.errors import InputError
from mmscratch.loops.seeded_dataset import SeededDataset


class Images:
    """One image with a box and a mask, through a transform."""

    def __init__(self, transform):
        self.transform = transform

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return self.transform(
            dict(
                img=rng.integers(0, 256, (40, 60, 3), dtype=np.uint8),
                gt_bboxes=HorizontalBoxes([[3.0, 2.0, 30.0, 20.0]]),
                gt_masks=BitmapMasks(rng.integers(0, 2, (1, 40, 60), dtype=np.uint8), 40, 60),
            )
        )


def stages() -> ProgressiveResize:
    return TRANSFORMS.build(
        dict(type='ProgressiveResize', scales=[(30, 20), [45, 30], (90, 60)], begins=[0, 5, 9])
    )


@pytest.mark.parametrize(
    ('step', 'scale'),
    [(0, (30, 20)), (4, (30, 20)), (5, (45, 30)), (8, (45, 30)), (9, (90, 60)), (10**6, (90, 60))],
)
def test_the_step_alone_decides_the_scale(step, scale):
    data = SeededDataset(Images(stages()), seed=0)
    data[1, 7]  # what was loaded before does not count
    found, expected = data[3, step], Images(Resize(scale=scale, keep_ratio=True))[3]
    assert found['img'].shape == (scale[1], scale[0], 3)
    np.testing.assert_array_equal(found['img'], expected['img'])
    np.testing.assert_array_equal(found['gt_masks'].masks, expected['gt_masks'].masks)
    assert found['gt_bboxes'].tensor.tolist() == expected['gt_bboxes'].tensor.tolist()
    assert found['scale_factor'] == expected['scale_factor']


@pytest.mark.parametrize('begins', [[], [0], [1, 5, 9], [0, 9, 5]])
def test_begins_that_do_not_fit_are_refused(begins):
    with pytest.raises(InputError, match='rise from 0, with one number for each of the 3 scales'):
        ProgressiveResize(scales=[(30, 20), (45, 30), (90, 60)], begins=begins)


def test_without_a_step_the_loop_to_set_is_named():
    with pytest.raises(InputError, match='ResumableIterBasedTrainLoop'):
        Images(stages())[0]

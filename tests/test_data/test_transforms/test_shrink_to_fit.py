import numpy as np
import pytest
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmscratch.data.transforms import ShrinkToFit


def sample(height: int, width: int) -> dict:
    rng = np.random.default_rng(height * 1000 + width)
    return dict(
        img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        gt_bboxes=HorizontalBoxes([[1.0, 2.0, 30.0, 20.0], [-5.0, 0.0, width + 9.0, 10.0]]),
        gt_masks=BitmapMasks(rng.integers(0, 2, (2, height, width), dtype=np.uint8), height, width),
        gt_seg_map=rng.integers(0, 9, (height, width), dtype=np.uint8),
    )


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key == 'gt_bboxes':
            assert found[key].tensor.tolist() == value.tensor.tolist()
        elif key == 'gt_masks':
            np.testing.assert_array_equal(found[key].masks, value.masks)
        else:
            np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize('scale', [(96, 64), (64, 96), [96, 64]])
@pytest.mark.parametrize(
    ('height', 'width', 'size'),
    [
        (128, 128, (64, 64)),
        (50, 192, (25, 96)),
        (65, 70, (64, 69)),
        (97, 30, (96, 30)),
    ],
)
def test_larger_images_are_resized_as_by_resize(scale, height, width, size):
    found = ShrinkToFit(scale=scale)(sample(height, width))
    assert found['img'].shape[:2] == found['img_shape'] == size
    assert_same(found, Resize(scale=tuple(scale), keep_ratio=True)(sample(height, width)))


@pytest.mark.parametrize(('height', 'width'), [(64, 96), (96, 64), (40, 30), (10, 96)])
def test_images_that_fit_stay_as_they_are(height, width):
    before = sample(height, width)
    found = ShrinkToFit(scale=(96, 64))(sample(height, width))
    for key in ('img', 'gt_seg_map'):
        np.testing.assert_array_equal(found[key], before[key])
    np.testing.assert_array_equal(found['gt_masks'].masks, before['gt_masks'].masks)
    assert found['img_shape'] == (height, width)
    assert found['scale'] == (width, height)
    assert found['scale_factor'] == (1.0, 1.0)
    assert found['keep_ratio'] is True
    # As by Resize: clipped, and with all its keys.
    assert found['gt_bboxes'].tensor.tolist() == [[1, 2, 30, min(20, height)], [0, 0, width, 10]]
    assert_same(found, Resize(scale=(width, height), keep_ratio=True)(sample(height, width)))


def test_registered():
    step = TRANSFORMS.build(dict(type='ShrinkToFit', scale=(96, 64)))
    assert isinstance(step, Resize)
    assert repr(step).startswith('ShrinkToFit(scale=(96, 64)')

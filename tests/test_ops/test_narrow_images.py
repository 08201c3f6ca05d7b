"""Sizes after resizing, images of which a side has one pixel, mirror images."""

import mmcv
import numpy as np
import pytest
from mmdet.datasets.transforms import PackDetInputs, RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from mmscratch.data.transforms import ShrinkToFit


@pytest.mark.parametrize(
    ('size', 'scale', 'expected'),
    [
        ((3000, 2), (384, 256), (384, 1)),
        ((2, 3000), (384, 256), (1, 384)),
        ((1, 4000), (1333, 800), (1, 1333)),
        ((100, 50), 0.001, (1, 1)),
        # as mmcv has it
        ((640, 480), (1333, 800), (1067, 800)),
        ((640, 480), 0.5, (320, 240)),
    ],
)
def test_a_side_has_a_pixel(size, scale, expected):
    assert mmcv.rescale_size(size, scale) == expected
    assert mmcv.rescale_size(size, scale, return_scale=True)[0] == expected
    image = np.zeros((size[1], size[0], 3), np.uint8)
    assert mmcv.imrescale(image, scale).shape == (expected[1], expected[0], 3)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('size', [(1, 1), (1, 30), (30, 1), (30, 20)])
def test_torch_takes_the_mirror_image(size, direction):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    results = dict(img=image, img_shape=size)
    results = RandomFlip(prob=1.0, direction=direction).transform(results)
    tensor = PackDetInputs(meta_keys=()).transform(results)['inputs']
    axes = dict(horizontal=1, vertical=0, diagonal=(0, 1))[direction]
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), np.flip(image, axes))


@pytest.mark.parametrize('kind', [Resize, ShrinkToFit])
def test_image_boxes_and_masks_shrink_alike(kind):
    image = np.zeros((2, 3000, 3), np.uint8)
    boxes = HorizontalBoxes(np.array([[100, 0, 900, 2]], np.float32))
    polygon = [np.array([100.0, 0, 900, 0, 900, 2])]
    for masks in (
        BitmapMasks(np.ones((1, 2, 3000), np.uint8), 2, 3000),
        PolygonMasks([polygon], 2, 3000),
    ):
        arguments = dict(keep_ratio=True) if kind is Resize else {}
        results = kind(scale=(384, 256), **arguments).transform(
            dict(img=image, img_shape=(2, 3000), gt_bboxes=boxes.clone(), gt_masks=masks)
        )
        assert results['img'].shape == (1, 384, 3)
        assert (results['gt_masks'].height, results['gt_masks'].width) == (1, 384)
        assert results['scale_factor'] == (384 / 3000, 1 / 2)
        np.testing.assert_allclose(results['gt_bboxes'].tensor[0], [12.8, 0, 115.2, 1], rtol=1e-6)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('channels', [(), (1,), (3,), (6,)])
@pytest.mark.parametrize('kind', [np.uint8, np.float32, bool])
def test_mirror_images_are_contiguous(kind, channels, direction):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, *channels)).astype(kind)
    flipped = mmcv.imflip(image, direction)
    axes = dict(horizontal=1, vertical=0, diagonal=(0, 1))[direction]
    np.testing.assert_array_equal(flipped, np.flip(image, axes))
    assert flipped.flags.c_contiguous
    assert flipped.dtype == kind

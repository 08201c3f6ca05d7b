"""MMDetection's augmentations treat each of any number of channels as one alone."""

import random

import mmcv
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import DefaultScope

import mmscratch.register_all  # noqa: F401

STEPS = {
    **{
        f'Resize {kind} {scale}': dict(
            type='Resize', scale=scale, keep_ratio=False, interpolation=kind
        )
        for kind in ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')
        for scale in ((20, 30), (60, 70))
    },
    'ShrinkToFit': dict(type='ShrinkToFit', scale=(24, 16)),
    'RandomChoiceResize': dict(
        type='RandomChoiceResize', scales=[(20, 20), (70, 70)], keep_ratio=True
    ),
    'RandomFlip': dict(type='RandomFlip', prob=1.0),
    'RandomFlip diagonal': dict(type='RandomFlip', prob=1.0, direction='diagonal'),
    'Pad': dict(type='Pad', size=(64, 64), pad_val=dict(img=7)),
    'Pad by a divisor': dict(type='Pad', size_divisor=32),
    'RandomCrop': dict(type='RandomCrop', crop_size=(24, 24), allow_negative_crop=True),
    'Expand': dict(type='Expand', mean=None, to_rgb=False, prob=1.0),
    'MinIoURandomCrop': dict(type='MinIoURandomCrop'),
    'RandomAffine': dict(type='RandomAffine'),
    'CutOut': dict(type='CutOut', n_holes=2, cutout_shape=(5, 5), fill_in=None),
}


@pytest.mark.parametrize('dtype', ['uint8', 'float32'])
@pytest.mark.parametrize('channels', [1, 2, 5])
@pytest.mark.parametrize('name', STEPS)
def test_each_channel_is_treated_as_one_of_three(name, channels, dtype):
    """Three channels are what the transforms are made for."""
    image = (np.random.default_rng(0).random((48, 40, channels)) * 250).astype(dtype)

    def treated(pixels: np.ndarray) -> np.ndarray:
        step = dict(STEPS[name])
        if 'mean' in step:
            step['mean'] = [9.0] * pixels.shape[2]
        if 'fill_in' in step:
            step['fill_in'] = tuple([0] * pixels.shape[2])
        random.seed(1)
        np.random.seed(1)
        results = dict(
            img=pixels.copy(),
            img_shape=pixels.shape[:2],
            gt_bboxes=HorizontalBoxes([[5.0, 5.0, 30.0, 40.0]]),
            gt_bboxes_labels=np.array([0]),
            gt_ignore_flags=np.array([False]),
        )
        with DefaultScope.overwrite_default_scope('mmdet'):
            return TRANSFORMS.build(step)(results)['img']

    found = treated(image)
    assert found.dtype == dtype
    found = found.reshape(*found.shape[:2], channels)  # warping drops the axis of one
    for channel in range(channels):
        wanted = treated(np.repeat(image[..., [channel]], 3, axis=2))[..., 0]
        # OpenCV has other code for some numbers of channels, with places to 1/32 pixel in warping
        tolerance = 6 if name == 'RandomAffine' else 1 if dtype == 'uint8' else 2e-3
        np.testing.assert_allclose(
            found[..., channel].astype(float), wanted, rtol=0, atol=tolerance
        )


def test_three_channels_are_resized_and_padded_by_mmcv():
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    from mmscratch.ops import channels

    np.testing.assert_array_equal(
        mmcv.imresize(image, (20, 30)), channels._mmcv_imresize(image, (20, 30))
    )
    resized, *scales = mmcv.imresize(image, (20, 30), return_scale=True)
    assert (resized.shape, scales) == ((30, 20, 3), [0.5, 0.625])
    padding = dict(shape=(64, 64), pad_val=(1, 2, 3))
    np.testing.assert_array_equal(
        mmcv.impad(image, **padding), channels._mmcv_impad(image, **padding)
    )

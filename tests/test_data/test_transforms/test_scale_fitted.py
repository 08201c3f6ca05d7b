import numpy as np
import pytest

from mmscratch.data.transforms import ScaleFitted, ShrinkToFit


@pytest.mark.parametrize(
    ('size', 'factor', 'expected'),
    [
        ((100, 200), 1.0, (100, 200)),  # fits 384 x 256
        ((100, 200), 0.75, (75, 150)),
        ((100, 200), 1.5, (150, 300)),
        ((500, 1000), 1.0, (192, 384)),
        ((500, 1000), 0.5, (96, 192)),
        ((1000, 500), 1.5, (576, 288)),
        ((1, 1), 0.25, (1, 1)),
    ],
)
def test_size_and_factor_are_those_from_the_image_as_it_came(size, factor, expected):
    image = np.zeros((*size, 3), np.uint8)
    found = ScaleFitted(scale=(384, 256), factor=factor)(dict(img=image))
    assert found['img'].shape[:2] == found['img_shape'] == expected
    assert found['scale_factor'] == pytest.approx((expected[1] / size[1], expected[0] / size[0]))


@pytest.mark.parametrize('size', [(96, 96), (256, 384), (300, 700), (520, 696)])
def test_factor_one_is_shrink_to_fit(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = ScaleFitted(scale=(384, 256), factor=1.0)(dict(img=image))
    plain = ShrinkToFit(scale=(384, 256))(dict(img=image))
    assert np.array_equal(found['img'], plain['img'])
    assert found['scale_factor'] == plain['scale_factor']

import copy

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmscratch.errors import InputError
from mmscratch.models import SensorDataPreprocessor

MEAN, STD = [10.0, 20.0, 30.0, 4000.0, 0.5], [1.0, 2.0, 3.0, 100.0, 0.25]


def batch(*images: torch.Tensor) -> dict:
    return dict(inputs=list(images), data_samples=[DetDataSample() for _ in images])


def test_each_channel_has_its_own_numbers_and_padding_is_the_mean():
    preprocessor = SensorDataPreprocessor(MEAN, STD, pad_size_divisor=8)
    images = [torch.rand(5, 6, 8) * 5000, torch.rand(5, 8, 3) * 5000]
    found = preprocessor(batch(*images), training=True)
    assert found['inputs'].shape == (2, 5, 8, 8)
    for image, seen in zip(images, found['inputs']):
        for channel in range(5):
            part = seen[channel, : image.shape[1], : image.shape[2]]
            torch.testing.assert_close(part, (image[channel] - MEAN[channel]) / STD[channel])
        assert not seen[:, image.shape[1] :].any()
    assert found['data_samples'][1].batch_input_shape == (8, 8)


def test_three_channels_of_8_bits_are_as_mmdetections_to_the_bit():
    colours = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    image = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)
    own, theirs = (
        kind(**colours)(batch(image.clone()))['inputs']
        for kind in (SensorDataPreprocessor, DetDataPreprocessor)
    )
    assert torch.equal(own, theirs)


def test_a_checkpoint_brings_its_normalization():
    trained, other = (SensorDataPreprocessor(MEAN, std) for std in (STD, [1.0] * 5))
    other.load_state_dict(copy.deepcopy(trained.state_dict()))
    assert other.std.flatten().tolist() == STD
    assert MODELS.get('SensorDataPreprocessor') is SensorDataPreprocessor


@pytest.mark.parametrize(('mean', 'std'), [([1.0, 2.0], [1.0]), ([1.0], [0.0])])
def test_numbers_that_are_none_are_refused(mean, std):
    with pytest.raises(InputError, match='one number a channel, std above 0'):
        SensorDataPreprocessor(mean, std)


def test_another_number_of_channels_is_refused():
    """One channel would be normalized five times, without a word."""
    with pytest.raises(InputError, match='takes 5 channels, and an image has 1'):
        SensorDataPreprocessor(MEAN, STD)(batch(torch.rand(1, 4, 4)))

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mmscratch.data.transforms import TwoViews, two_views


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (50, 70, 3), np.uint8)


def test_two_different_views_of_the_asked_size_follow_from_the_seed(noise):
    transform = TwoViews(size=40)
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(transform(dict(img=noise.copy(), img_path='a.png')))
    assert outs[0].keys() == {'inputs'}
    views = [out['inputs'] for out in outs]
    assert views[0].shape == (2, 3, 40, 40)
    assert views[0].dtype == torch.uint8
    assert not views[0][0].equal(views[0][1])
    assert views[0].equal(views[1])
    assert not views[0].equal(views[2])


def test_channels_stay_in_the_order_of_the_image(monkeypatch):
    """Blue in BGR stays blue; grey views have red's, green's and blue's usual shares."""
    image = np.zeros((30, 30, 3), np.uint8)
    image[..., 0] = 200
    transform = TwoViews(size=32, jitter=0)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        seen |= {tuple(view[:, 5, 5].tolist()) for view in transform(dict(img=image))['inputs']}
    # 0.114 is blue's share of grey
    assert len(seen) == 2
    assert (200, 0, 0) in seen
    (grey,) = seen - {(200, 0, 0)}
    assert len(set(grey)) == 1
    assert grey[0] == pytest.approx(0.114 * 200, abs=1)


def test_a_grey_image_stays_grey_and_changes_its_brightness():
    image = np.full((30, 30, 3), 100, np.uint8)
    torch.manual_seed(0)
    views = torch.cat([TwoViews(size=32)(dict(img=image))['inputs'] for _ in range(10)]).int()
    assert (views.amax(1) - views.amin(1)).max() <= 1
    assert len(views[:, 0, 0, 0].unique()) > 5


def test_a_smaller_image_is_enlarged():
    views = TwoViews(size=64)(dict(img=np.zeros((9, 5, 3), np.uint8)))['inputs']
    assert views.shape == (2, 3, 64, 64)


def test_the_blur_is_gaussian():
    """Against torchvision's, with the width that the seed draws."""
    noise = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    torch.manual_seed(3)
    blurred = two_views._blurred(noise)
    torch.manual_seed(3)
    sigma = float(torch.empty(()).uniform_(0.1, 2.0))
    expected = v2.functional.gaussian_blur(noise, [17, 17], [sigma, sigma])
    assert (blurred.int() - expected.int()).abs().max() <= 2


def test_about_half_of_the_views_are_flipped_and_cropped_on_their_own():
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], (50, 1, 3))
    torch.manual_seed(0)
    views = torch.cat([TwoViews(32, jitter=0)(dict(img=ramp))['inputs'] for _ in range(50)]).int()
    flipped = views[:, 0, 16, 0] > views[:, 0, 16, -1]
    assert 30 <= flipped.sum() <= 70
    # a crop has 20 to 100 % of the area
    widths = (views[:, 0, 16, 0] - views[:, 0, 16, -1]).abs()
    assert widths.min() < 130
    assert widths.max() > 200


@pytest.mark.parametrize('channels', [1, 3, 5])
def test_a_sensors_channels_change_by_themselves(channels, monkeypatch):
    """In the units of the file, beyond 8 bits; a shift by up to 0.8 deviations, and contrast."""
    monkeypatch.setattr(two_views, '_blurred', lambda view: view)
    noise = np.random.RandomState(0).normal(size=(40, 40, channels))
    values = 30_000 + 200 * (noise - noise.mean((0, 1))) / noise.std((0, 1))
    deviation = [200.0] * channels
    torch.manual_seed(0)
    transform = TwoViews(size=40, least_area=1.0, deviation=deviation)
    image = values.astype(np.float32)
    views = torch.cat([transform(dict(img=image))['inputs'] for _ in range(60)])
    assert views.dtype == torch.float32
    assert views.shape[1:] == (channels, 40, 40)
    shifts = (views.mean((2, 3)) - 30_000) / 200
    assert 0.6 < shifts.abs().max() < 0.83
    # a fifth of the views is left as it is, but for a crop
    assert 0.1 < (shifts.abs() < 0.03).all(1).float().mean() < 0.35
    stretched = views.std((2, 3)) / 200
    assert stretched.max() > 1.2 > 0.7 > stretched.min()
    if channels > 1:
        assert torch.corrcoef(shifts[:, :2].T)[0, 1].abs() < 0.4


def test_eight_bits_of_a_sensor_are_not_cut_to_their_range():
    image = np.full((30, 30, 4), 250, np.uint8)
    torch.manual_seed(0)
    transform = TwoViews(size=32, deviation=[60.0] * 4)
    views = torch.cat([transform(dict(img=image))['inputs'] for _ in range(10)])
    assert views.max() > 255


def test_the_blur_takes_any_number_of_channels():
    for channels in (1, 5):
        noise = torch.rand(channels, 40, 40)
        torch.manual_seed(3)
        blurred = two_views._blurred(noise)
        torch.manual_seed(3)
        sigma = float(torch.empty(()).uniform_(0.1, 2.0))
        expected = v2.functional.gaussian_blur(noise, [17, 17], [sigma, sigma])
        torch.testing.assert_close(blurred, expected, atol=1e-3, rtol=0)

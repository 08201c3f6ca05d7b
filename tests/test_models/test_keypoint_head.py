import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmscratch.errors import InputError
from mmscratch.models import KeypointRCNNHead


def head(**kwargs) -> KeypointRCNNHead:
    torch.manual_seed(0)
    sizes = dict(num_keypoints=3, num_convs=2, in_channels=4, conv_out_channels=8)
    result = KeypointRCNNHead(**{**sizes, **kwargs})
    result.init_weights()
    return result


@pytest.mark.parametrize(
    ('point', 'bin_', 'inside'),
    [
        # the box is 112 x 56 pixels from (10, 20): a bin is 2 pixels wide, 1 high
        ((10.0, 20.0), 0, True),
        ((13.9, 20.0), 1, True),
        ((14.0, 20.0), 2, True),
        ((10.0, 21.5), 56, True),
        ((70.0, 50.0), 30 * 56 + 30, True),
        ((121.9, 75.9), 55 * 56 + 55, True),
        ((122.0, 76.0), 55 * 56 + 55, True),  # the far edges belong to the last bins
        ((122.1, 50.0), 0, False),
        ((70.0, 19.9), 0, False),
        ((9.9, 50.0), 0, False),
    ],
)
def test_bins_by_hand(point, bin_, inside):
    box = torch.tensor([[10.0, 20.0, 122.0, 76.0]])
    bins, trains = head(num_keypoints=1).get_targets(box, torch.tensor([[[*point, 2]]]), 56)
    assert (bins.item(), trains.item()) == (bin_, inside)


def test_a_box_without_area_has_no_bins_that_break_anything():
    box = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    keypoints = torch.tensor([[[5.0, 5.0, 2], [6.0, 5.0, 2], [5.0, 4.0, 2]]])
    bins, trains = head().get_targets(box, keypoints, 56)
    assert 0 <= bins.min() <= bins.max() < 56 * 56
    assert trains.tolist() == [[True, False, False]]


def test_only_labelled_keypoints_within_the_box_train():
    box = torch.tensor([[0.0, 0.0, 56.0, 56.0]])
    keypoints = torch.tensor([[[3.5, 0.5, 0], [3.5, 0.5, 1], [3.5, 0.5, 2]]])
    bins, trains = head().get_targets(box, keypoints, 56)
    assert bins.tolist() == [[0, 3, 3]]
    assert trains.tolist() == [[False, True, True]]
    keypoints[..., 0] = 57
    assert not head().get_targets(box, keypoints, 56)[1].any()


def case() -> tuple[torch.Tensor, torch.Tensor]:
    """Two RoIs with three keypoints; the third is not labelled in the first."""
    boxes = torch.tensor([[0.0, 0.0, 56.0, 56.0], [10.0, 10.0, 66.0, 66.0]])
    keypoints = torch.tensor(
        [
            [[1.5, 0.5, 2], [0.5, 1.5, 1], [30.0, 30.0, 0]],
            [[10.5, 10.5, 2], [65.5, 65.5, 2], [11.5, 10.5, 2]],
        ]
    )
    return boxes, keypoints


def test_loss_of_uniform_heatmaps_is_the_log_of_the_number_of_bins():
    loss = head().loss(torch.zeros(2, 3, 56, 56), *case())['loss_keypoint']
    assert loss.item() == pytest.approx(math.log(56 * 56))


def test_loss_is_the_mean_over_labelled_keypoints():
    """Four of the five right with certainty, one with an even chance among all bins."""
    heatmaps = torch.zeros(2, 3, 56, 56)
    for roi, k, row, column in [(0, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, 0), (1, 1, 55, 55)]:
        heatmaps[roi, k, row, column] = 100
    loss = head().loss(heatmaps, *case())['loss_keypoint']
    assert loss.item() == pytest.approx(math.log(56 * 56) / 5, rel=1e-5)
    heatmaps[1, 2, 0, 1] = 100
    assert head().loss(heatmaps, *case())['loss_keypoint'].item() == pytest.approx(0, abs=1e-6)


def test_what_is_not_labelled_gets_no_gradient():
    heatmaps = torch.zeros(2, 3, 56, 56, requires_grad=True)
    head().loss(heatmaps, *case())['loss_keypoint'].backward()
    trained = heatmaps.grad.abs().sum((2, 3)) > 0
    assert trained.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize('rois', [0, 2])
def test_every_parameter_gets_a_gradient(rois):
    model = head(norm_cfg=dict(type='GN', num_groups=2))
    boxes, keypoints = (tensor[:rois] for tensor in case())
    loss = model.loss(model(torch.randn(rois, 4, 14, 14)), boxes, keypoints)['loss_keypoint']
    loss.backward()
    assert torch.isfinite(loss)
    assert (loss.item() == 0) == (rois == 0)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert all((gradient.abs().sum() > 0) == (rois > 0) for gradient in gradients)


def test_heatmaps_have_four_times_the_side_of_the_features():
    assert head()(torch.randn(2, 4, 14, 14)).shape == (2, 3, 56, 56)


def test_layers_and_fill_are_detectrons():
    """8 convs 3 x 3 of 512 channels, no norm; MSRAFill is normal with variance 2 / fan_out."""
    model = KeypointRCNNHead()
    torch.manual_seed(0)
    model.init_weights()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convs] == [(256, 512)] + [(512, 512)] * 7
    assert not [m for m in model.modules() if isinstance(m, nn.GroupNorm | nn.BatchNorm2d)]
    assert model.deconv.weight.shape == (512, 17, 4, 4)
    for layer in [*convs, model.deconv]:
        fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
        assert not layer.bias.any()


def test_a_wrong_number_of_keypoints_is_told():
    with pytest.raises(InputError, match=r'num_keypoints=3, but the data has 17'):
        head().get_targets(torch.zeros(1, 4), torch.zeros(1, 17, 3), 56)


def detectrons_points(heatmaps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The published procedure with OpenCV, map by map."""
    points = np.zeros((*heatmaps.shape[:2], 2))
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        columns, rows = math.ceil(width), math.ceil(height)
        for k, heatmap in enumerate(heatmaps[n]):
            grown = cv2.resize(heatmap, (columns, rows), interpolation=cv2.INTER_CUBIC)
            row, column = np.unravel_index(grown.argmax(), grown.shape)
            points[n, k] = (
                x1 + (column + 0.5) * width / columns,
                y1 + (row + 0.5) * height / rows,
            )
    return points


def test_decoding_is_detectrons():
    generator = np.random.default_rng(0)
    start = generator.uniform(0, 50, (20, 2))
    sides = generator.uniform(0.2, 200, (20, 2))
    boxes = np.concatenate([start, start + sides], 1).astype(np.float32)
    # smooth maps, with peaks between bins
    noise = generator.normal(size=(20, 4, 56, 56)).astype(np.float32)
    heatmaps = np.array([[cv2.GaussianBlur(m, (0, 0), 3) for m in maps] for maps in noise])
    found, _ = head().predict_by_feat(torch.from_numpy(heatmaps), torch.from_numpy(boxes))
    np.testing.assert_allclose(found[..., :2], detectrons_points(heatmaps, boxes), atol=1e-3)


def test_decoding_inverts_encoding():
    torch.manual_seed(0)
    start, sides = torch.rand(40, 2) * 50, torch.rand(40, 2) * 300 + 56
    boxes = torch.cat([start, start + sides], 1)
    points = start[:, None] + sides[:, None] * torch.rand(40, 5, 2)
    labelled = torch.cat([points, torch.ones(40, 5, 1)], -1)
    model = head(num_keypoints=5)
    bins, trains = model.get_targets(boxes, labelled, 56)
    assert trains.all()
    heatmaps = torch.zeros(40, 5, 56 * 56).scatter_(2, bins[..., None], 20.0)
    keypoints, scores = model.predict_by_feat(heatmaps.view(40, 5, 56, 56), boxes)
    again, _ = model.get_targets(boxes, keypoints, 56)
    assert (again == bins).all()
    assert (keypoints[..., 2] == scores).all()
    assert (scores > 0.99).all()


def test_peaks_as_wide_as_the_heads_own_are_found_in_small_boxes():
    """Enlarged twice, a peak is at least four bins wide; so it is met by every fourth bin."""
    torch.manual_seed(0)
    bins = torch.randint(2, 26, (40, 5, 2))
    coarse = torch.zeros(40, 5, 28 * 28).scatter_(2, bins[..., :1] * 28 + bins[..., 1:], 20.0)
    heatmaps = nn.functional.interpolate(
        coarse.view(40, 5, 28, 28), scale_factor=2, mode='bilinear'
    )
    sides = torch.rand(40, 2) * 42 + 14
    keypoints, _ = head().predict_by_feat(heatmaps, torch.cat([torch.zeros(40, 2), sides], 1))
    expected = (bins.flip(-1) + 0.5) / 28 * sides[:, None]
    assert ((keypoints[..., :2] - expected).abs() < sides[:, None] / 28 + 0.5).all()


def test_score_of_a_flat_map_is_one_bins_share():
    _, scores = head().predict_by_feat(torch.zeros(1, 3, 56, 56), torch.tensor([[0.0, 0, 9, 9]]))
    assert scores.tolist() == [[pytest.approx(1 / 56**2)] * 3]

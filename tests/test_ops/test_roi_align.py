import math

import pytest
import torch
from mmcv.ops import RoIAlign, roi_align

HEIGHT, WIDTH = 9, 12  # of the feature map
CELLS = (3, 2)  # of the output

# (image, x1, y1, x2, y2) on the feature map
BOXES = torch.tensor(
    [
        [0, 1.3, 0.7, 9.1, 7.4],
        [1, 0.2, 0.4, 11.7, 8.6],
        [1, -3.1, -2.3, 4.2, 3.9],  # partly outside, above and left
        [0, 8.3, 5.9, 16.4, 13.2],  # partly outside, below and right
        [1, 20.3, 20.7, 25.1, 26.2],  # outside
        [0, 4.31, 3.27, 4.52, 3.41],  # a fifth of a cell
        [1, 6.6, 2.2, 6.6, 2.2],  # a point
        [0, 5.2, 1.1, 5.9, 8.3],  # a sliver
    ]
)


def sampling_matrix(box, spatial_scale, sampling_ratio, aligned):
    """[P, Q, H, W] float64: what each feature cell weighs in each output cell of one box.

    A sample at (y, x) weighs its neighbours by max(0, 1 - distance) per axis; it is moved to the
    border if less than one cell outside, and counts as zero if further out.
    """
    x1, y1, x2, y2 = (
        coordinate * spatial_scale - (0.5 if aligned else 0) for coordinate in box.tolist()
    )
    least = 0 if aligned else 1
    cell_h = max(y2 - y1, least) / CELLS[0]
    cell_w = max(x2 - x1, least) / CELLS[1]
    samples_y = sampling_ratio or math.ceil(cell_h)
    samples_x = sampling_ratio or math.ceil(cell_w)
    matrix = torch.zeros(*CELLS, HEIGHT, WIDTH, dtype=torch.float64)
    for p in range(CELLS[0]):
        for q in range(CELLS[1]):
            for i in range(samples_y):
                for j in range(samples_x):
                    y = y1 + (p + (i + 0.5) / samples_y) * cell_h
                    x = x1 + (q + (j + 0.5) / samples_x) * cell_w
                    matrix[p, q] += torch.outer(hat(y, HEIGHT), hat(x, WIDTH))
            matrix[p, q] /= max(samples_y * samples_x, 1)
    return matrix


def hat(position, size):
    if position < -1 or position > size:
        return torch.zeros(size, dtype=torch.float64)
    position = min(max(position, 0), size - 1)
    return (1 - (torch.arange(size, dtype=torch.float64) - position).abs()).clamp(min=0)


def reference_roi_align(features, boxes, spatial_scale, sampling_ratio, aligned):
    outputs = []
    for box in boxes.double():
        matrix = sampling_matrix(box[1:], spatial_scale, sampling_ratio, aligned)
        outputs.append(torch.einsum('pqhw,chw->cpq', matrix, features[int(box[0])]))
    return torch.stack(outputs)


def random_features(dtype):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=generator).to(dtype)


def assert_matches_reference(dtype, boxes, spatial_scale, sampling_ratio, aligned, device):
    """Output and gradient against the reference on the same, already rounded, numbers."""
    features = random_features(dtype).to(device).requires_grad_()
    exact = features.detach().cpu().double().requires_grad_()
    output = RoIAlign(CELLS, spatial_scale, sampling_ratio, aligned=aligned)(
        features, boxes.to(device)
    )
    expected = reference_roi_align(exact, boxes, spatial_scale, sampling_ratio, aligned)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(expected.shape, generator=generator).to(dtype)
    output.backward(weights.to(device))
    expected.backward(weights.double())

    assert output.dtype == features.grad.dtype == dtype
    # Sums of up to a hundred products in float32 are good to 1e-5 (float64: 1e-12); what the
    # caller's type adds is the one rounding at the end, half an eps.
    fine = 1e-12 if dtype == torch.float64 else 1e-5
    rtol = max(fine, torch.finfo(dtype).eps / 2 * 1.01)
    torch.testing.assert_close(output.cpu().double(), expected.detach(), rtol=rtol, atol=fine)
    torch.testing.assert_close(features.grad.cpu().double(), exact.grad, rtol=rtol, atol=fine)
    assert exact.grad.abs().max() > 0.5


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('spatial_scale', [1.0, 0.25, 1 / 16])
def test_float32_values_and_gradients(spatial_scale, sampling_ratio, aligned, device):
    boxes = BOXES / BOXES.new_tensor([1] + 4 * [spatial_scale])
    assert_matches_reference(torch.float32, boxes, spatial_scale, sampling_ratio, aligned, device)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_types_with_boxes_in_float32_or_in_the_same_type(dtype, aligned, device):
    boxes = BOXES / BOXES.new_tensor([1] + 4 * [0.25])
    assert_matches_reference(dtype, boxes, 0.25, 2, aligned, device)
    assert_matches_reference(dtype, boxes.to(dtype), 0.25, 2, aligned, device)


def test_float16_features_do_not_blur_boxes_far_from_the_origin():
    # A ramp of one per image pixel: a cell's mean is the image coordinate of its middle.
    ramp = torch.arange(0, 1000, 4.0).expand(1, 1, 2, 250).half()
    box = torch.tensor([[0, 901.25, 0.0, 909.25, 8.0]])
    middle = RoIAlign(1, 0.25, 2, aligned=False)(ramp, box)
    assert middle.item() == 905.0  # 905.25 to the nearest float16


@pytest.mark.parametrize('aligned', [True, False])
def test_gradcheck(aligned):
    features = random_features(torch.float64)[:, :1].requires_grad_()
    boxes = BOXES[:3].double()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, boxes, CELLS, 1.0, 2, 'avg', aligned), features
    )


def test_no_boxes(device):
    features = random_features(torch.float32).to(device).requires_grad_()
    output = RoIAlign(CELLS)(features, torch.zeros(0, 5, device=device))
    assert output.shape == (0, 3, *CELLS)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_strided_features_and_gradients():
    features = random_features(torch.float32).to(memory_format=torch.channels_last)
    expected = reference_roi_align(features.double(), BOXES, 1.0, 2, True)
    features.requires_grad_()
    output = RoIAlign(CELLS, sampling_ratio=2)(features, BOXES)
    torch.testing.assert_close(output.detach().double(), expected, rtol=1e-5, atol=1e-5)
    output.transpose(2, 3).contiguous().sum().backward()
    strided = features.grad.clone()
    features.grad = None
    RoIAlign(CELLS, sampling_ratio=2)(features, BOXES).sum().backward()
    assert torch.equal(strided, features.grad)


def test_autocast_changes_nothing(device):
    features = random_features(torch.float32).to(device)
    layer = RoIAlign(CELLS, sampling_ratio=2)
    expected = layer(features, BOXES.to(device))
    with torch.autocast(device, dtype=torch.bfloat16):
        output = layer(features, BOXES.to(device))
    assert torch.equal(output, expected)


def test_maximum_pooling_is_refused_by_name():
    with pytest.raises(NotImplementedError, match=r"roi_align_forward with pool_mode='max'.*mmcv"):
        RoIAlign(CELLS, pool_mode='max')(random_features(torch.float32), BOXES)


def test_a_box_that_is_not_a_number_spoils_its_own_output_only():
    features = random_features(torch.float32)
    boxes = BOXES.clone()
    boxes[1, 3] = float('nan')
    boxes[2, 4] = float('inf')
    output = RoIAlign(CELLS, sampling_ratio=2)(features, boxes)
    assert output[1].isnan().all()
    rest = [0, *range(3, len(BOXES))]
    assert torch.equal(output[rest], RoIAlign(CELLS, sampling_ratio=2)(features, BOXES)[rest])

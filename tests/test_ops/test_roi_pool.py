import math

import pytest
import torch
from mmcv.ops import RoIPool

HEIGHT, WIDTH = 7, 9  # of the feature map
CELLS = (3, 2)  # of the output

# (image, x1, y1, x2, y2) on the feature map
BOXES = torch.tensor(
    [
        [0, 1.3, 0.7, 7.1, 5.4],
        [1, 0.2, 0.4, 8.7, 6.6],
        [1, -3.1, -2.3, 4.2, 3.9],  # partly outside, above and left
        [0, 5.3, 3.9, 12.4, 10.2],  # partly outside, below and right
        [1, 20.3, 20.7, 25.1, 26.2],  # outside
        [0, 4.31, 3.27, 4.52, 3.41],  # within a cell
        [0, 5.2, 6.0, 3.1, 2.0],  # corners swapped: one cell
    ]
)


def nearest(value):
    """Round half away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def reference_roi_pool(features, boxes, spatial_scale):
    """Fast R-CNN's rule: round the box to cells, corners inclusive, and cover each part fully."""
    outputs = []
    for box in boxes.double():
        x1, y1, x2, y2 = (nearest(coordinate * spatial_scale) for coordinate in box[1:].tolist())
        height, width = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        image = features[int(box[0])]
        output = image.new_zeros(len(image), *CELLS)
        for p in range(CELLS[0]):
            for q in range(CELLS[1]):
                top = max(y1 + p * height // CELLS[0], 0)
                bottom = max(y1 - (-(p + 1) * height // CELLS[0]), 0)
                left = max(x1 + q * width // CELLS[1], 0)
                right = max(x1 - (-(q + 1) * width // CELLS[1]), 0)
                part = image[:, top:bottom, left:right]
                if part.numel():
                    output[:, p, q] = part.amax(dim=(1, 2))
        outputs.append(output)
    return torch.stack(outputs)


def distinct_features(dtype):
    """Whole numbers, each once in a channel, so that no maximum is tied in any type."""
    generator = torch.Generator().manual_seed(0)
    planes = [torch.randperm(HEIGHT * WIDTH, generator=generator) - 30 for _ in range(6)]
    return torch.stack(planes).reshape(2, 3, HEIGHT, WIDTH).to(dtype)


@pytest.mark.parametrize('spatial_scale', [1.0, 0.25, 1 / 16])
@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_values_and_gradients(dtype, spatial_scale, device):
    boxes = BOXES / BOXES.new_tensor([1] + 4 * [spatial_scale])
    features = distinct_features(dtype).to(device).requires_grad_()
    exact = distinct_features(torch.float64).requires_grad_()
    output = RoIPool(CELLS, spatial_scale)(features, boxes.to(device))
    expected = reference_roi_pool(exact, boxes, spatial_scale)
    # Whole numbers below 8: their sums over a few boxes are exact in every type.
    generator = torch.Generator().manual_seed(1)
    weights = torch.randint(-7, 8, expected.shape, generator=generator)
    output.backward(weights.to(features))
    expected.backward(weights.double())

    assert output.dtype == features.grad.dtype == dtype
    assert torch.equal(output.cpu().double(), expected)
    assert torch.equal(features.grad.cpu().double(), exact.grad)
    assert exact.grad.abs().sum() > 100


def test_worked_by_hand():
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    output = RoIPool(2)(features, torch.tensor([[0, 0.0, 0, 2, 2]]))
    # 3 x 3 cells in 2 x 2 parts: rows 0-1 and 1-2, columns 0-1 and 1-2
    assert output.tolist() == [[[[5, 6], [9, 10]]]]


def test_no_boxes(device):
    features = distinct_features(torch.float32).to(device).requires_grad_()
    output = RoIPool(CELLS)(features, torch.zeros(0, 5, device=device))
    assert output.shape == (0, 3, *CELLS)
    output.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))

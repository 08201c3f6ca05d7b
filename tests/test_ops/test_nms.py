import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms


def reference_nms(boxes, scores, iou_threshold, offset):
    """Greedy NMS in float64, one pair at a time; no pair may sit on the threshold."""
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        for j in kept:
            (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = boxes[i], boxes[j]
            width = max(0, min(ax2, bx2) - max(ax1, bx1) + offset)
            height = max(0, min(ay2, by2) - max(ay1, by1) + offset)
            areas = [(x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in boxes[[i, j]]]
            iou = width * height / (sum(areas) - width * height)
            assert abs(iou - iou_threshold) > 1e-5
            if iou > iou_threshold:
                break
        else:
            kept.append(i)
    return kept


def random_boxes(count, dtype, size=30):
    """Crowded boxes, and scores that stay distinct in bfloat16."""
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * size
    extent = (torch.rand(count, 2, generator=generator) + 2) * size / 4
    boxes = torch.cat([corner, corner + extent], dim=1).to(dtype)
    scores = ((torch.randperm(count, generator=generator) + 1) / 128).to(dtype)
    return boxes, scores


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize('iou_threshold', [0.1, 0.5, 0.7])
def test_keeps_what_the_reference_keeps(dtype, offset, iou_threshold, device):
    boxes, scores = random_boxes(60, dtype)
    expected = reference_nms(boxes.double(), scores.double(), iou_threshold, offset)
    assert 1 < len(expected) < len(boxes)

    dets, inds = nms(boxes.to(device), scores.to(device), iou_threshold, offset=offset)

    assert inds.device.type == device
    assert inds.tolist() == expected
    assert dets.dtype == dtype
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], 1)[expected])


def test_offset_decides_a_case_worked_by_hand():
    boxes = torch.tensor([[0.0, 0, 9, 9], [5, 0, 14, 9]])
    scores = torch.tensor([0.9, 0.8])
    # offset 0: 4 * 9 / (2 * 81 - 36) = 0.286; offset 1: 5 * 10 / (2 * 100 - 50) = 0.333
    assert nms(boxes, scores, 0.3, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.3, offset=1)[1].tolist() == [0]


def test_a_box_on_the_threshold_stays():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 4]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.5)[1].tolist() == [0, 1]


def test_float16_boxes_far_from_the_origin_keep_their_corners():
    # In float16 arithmetic 3000 + 1 is 3000, and areas of these boxes overflow.
    boxes = torch.tensor([[3000, 3000, 3400, 3400], [3008, 3000, 3408, 3400]], dtype=torch.float16)
    scores = torch.tensor([0.5, 0.25], dtype=torch.float16)
    assert nms(boxes, scores, 0.99, offset=1)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.9, offset=1)[1].tolist() == [0]


def test_no_boxes(device):
    dets, inds = nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert dets.shape == (0, 5)
    assert inds.shape == (0,)
    assert inds.dtype == torch.int64


def test_boxes_and_scores_may_differ_in_dtype_as_under_autocast():
    boxes, scores = random_boxes(30, torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        mixed = nms(boxes, scores.float(), 0.5)[1]
    assert mixed.tolist() == nms(boxes, scores, 0.5)[1].tolist()


def test_score_threshold_and_max_num_of_the_mmcv_wrapper():
    boxes, scores = random_boxes(60, torch.float32)
    kept = [i for i in reference_nms(boxes, scores, 0.5, 0) if scores[i] > 0.2]
    assert nms(boxes, scores, 0.5, score_threshold=0.2, max_num=5)[1].tolist() == kept[:5]


def test_numpy_in_numpy_out():
    boxes, scores = random_boxes(30, torch.float32)
    dets, inds = nms(boxes.numpy(), scores.numpy(), 0.5)
    assert isinstance(dets, np.ndarray)
    assert inds.tolist() == nms(boxes, scores, 0.5)[1].tolist()


@pytest.mark.parametrize('split_thr', [10000, 10])
def test_batched_nms_suppresses_within_a_class_only(split_thr, device):
    boxes, scores = random_boxes(60, torch.float32)
    labels = torch.arange(60) % 3
    expected = []
    for label in range(3):
        members = (labels == label).nonzero().flatten()
        kept = reference_nms(boxes[members], scores[members], 0.5, 0)
        expected += members[kept].tolist()
    expected.sort(key=lambda i: -scores[i])
    cfg = dict(type='nms', iou_threshold=0.5, split_thr=split_thr)

    dets, inds = batched_nms(boxes.to(device), scores.to(device), labels.to(device), cfg)

    assert inds.tolist() == expected
    assert torch.equal(dets[:, :4].cpu(), boxes[expected])


def test_batched_nms_across_classes():
    boxes, scores = random_boxes(60, torch.float32)
    cfg = dict(type='nms', iou_threshold=0.5)
    _, inds = batched_nms(boxes, scores, torch.arange(60) % 3, cfg, class_agnostic=True)
    assert inds.tolist() == reference_nms(boxes, scores, 0.5, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_boxes_and_scores_on_two_devices_are_refused():
    boxes, scores = random_boxes(5, torch.float32)
    with pytest.raises(RuntimeError):
        nms(boxes.cuda(), scores, 0.5)

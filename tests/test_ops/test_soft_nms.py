import math

import pytest
import torch
from mmcv.ops import batched_nms, soft_nms

METHODS = ['naive', 'linear', 'gaussian']


def reference_soft_nms(boxes, scores, iou_threshold, sigma, min_score, method, offset):
    """Soft-NMS on Python floats. A dropped row is replaced by the last row, as mmcv does."""
    rows = [(i, box, score) for i, (box, score) in enumerate(zip(boxes.tolist(), scores.tolist()))]
    picked = []
    while rows:
        # max() takes the first of equal scores; the first row then takes its place.
        place = max(range(len(rows)), key=lambda k: rows[k][2])
        top = rows[place]
        rows[place] = rows[0]
        rows = rows[1:]
        picked.append(top)
        k = 0
        while k < len(rows):
            i, box, score = rows[k]
            score *= factor(iou(top[1], box, offset), iou_threshold, sigma, method)
            rows[k] = (i, box, score)
            if score < min_score:
                last = rows.pop()
                if k < len(rows):
                    rows[k] = last
            else:
                k += 1
    return [i for i, _, _ in picked], [score for _, _, score in picked]


def iou(a, b, offset):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def factor(overlap, iou_threshold, sigma, method):
    if method == 'gaussian':
        return math.exp(-(overlap**2) / sigma)
    if overlap < iou_threshold:
        return 1
    return 0 if method == 'naive' else 1 - overlap


def random_boxes(count, levels, seed):
    """Crowded boxes on a grid of quarters, whose scores take few values, so that many are equal."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 160, (count, 2), generator=generator) / 4
    extent = torch.randint(20, 100, (count, 2), generator=generator) / 4
    scores = torch.randint(1, levels + 1, (count,), generator=generator) / levels
    return torch.cat([corner, corner + extent], dim=1), scores


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('min_score', [0.0, 0.05, 0.3])
@pytest.mark.parametrize('levels', [4, 1000])
def test_order_and_scores_are_those_of_the_reference(method, offset, min_score, levels):
    boxes, scores = random_boxes(50, levels, seed=levels)
    knobs = dict(iou_threshold=0.3, sigma=0.5, min_score=min_score, method=method, offset=offset)
    # float64, so that near-ties of lowered scores are decided as on Python floats
    dets, inds = soft_nms(boxes.double(), scores.double(), **knobs)

    expected_inds, expected_scores = reference_soft_nms(boxes, scores.double(), **knobs)
    assert inds.tolist() == expected_inds
    assert torch.equal(dets[:, :4], boxes.double()[inds])
    assert dets[:, 4].tolist() == pytest.approx(expected_scores, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_scores_are_exact_to_the_last_rounding(dtype, method):
    boxes, scores = random_boxes(50, 1000, seed=3)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    dets, inds = soft_nms(boxes, scores, method=method, min_score=0.1)

    expected_inds, expected_scores = reference_soft_nms(
        boxes.double(), scores.double(), 0.3, 0.5, 0.1, method, 0
    )
    assert dets.dtype == dtype
    # In float32 and in double the same boxes stay; near-equal ones may change places.
    assert sorted(inds.tolist()) == sorted(expected_inds)
    by_index = dict(zip(expected_inds, expected_scores))
    expected = [by_index[i] for i in inds.tolist()]
    # a few products in float32 (1e-5), then one rounding to the caller's type (half an eps)
    tolerance = max(1e-5, torch.finfo(dtype).eps / 2 * 1.01)
    assert dets[:, 4].tolist() == pytest.approx(expected, rel=tolerance)


def test_worked_by_hand():
    # IoU of a and b is 50 / 150 = 1/3; c is alone.
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.9, 0.6, 0.5])
    dets, inds = soft_nms(boxes, scores, iou_threshold=0.3, method='linear')
    assert inds.tolist() == [0, 2, 1]
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert soft_nms(boxes, scores, method='naive')[1].tolist() == [0, 2]
    dets, _ = soft_nms(boxes, scores, sigma=0.5, method='gaussian')
    assert dets[2, 4].item() == pytest.approx(0.6 * math.exp(-2 / 9))


def test_the_first_box_is_kept_whatever_its_score():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    assert soft_nms(boxes, torch.tensor([0.01, 0.02]), min_score=0.5)[1].tolist() == [1]


def test_no_boxes():
    dets, inds = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert inds.shape == (0,)


def test_arguments_are_left_alone():
    boxes, scores = random_boxes(20, 10, seed=1)
    before = boxes.clone(), scores.clone()
    soft_nms(boxes, scores)
    assert torch.equal(boxes, before[0])
    assert torch.equal(scores, before[1])


def test_batched_nms_accepts_it():
    boxes, scores = random_boxes(30, 1000, seed=5)
    labels = torch.arange(30) % 2
    cfg = dict(type='soft_nms', iou_threshold=0.3, min_score=0.05)
    dets, inds = batched_nms(boxes, scores, labels, cfg)
    by_index = {}
    for label in range(2):
        members = (labels == label).nonzero().flatten()
        kept, lowered = soft_nms(boxes[members], scores[members], 0.3, min_score=0.05)[::-1]
        by_index |= dict(zip(members[kept].tolist(), lowered[:, 4].tolist()))
    assert sorted(inds.tolist()) == sorted(by_index)
    expected = [by_index[i] for i in inds.tolist()]
    # Classes are set apart by moving boxes up to 65 px, which costs digits of the IoU.
    assert dets[:, 4].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
def test_cuda_boxes_come_back_on_cuda():
    boxes, scores = random_boxes(30, 1000, seed=5)
    dets, inds = soft_nms(boxes.cuda(), scores.cuda())
    assert dets.is_cuda
    assert inds.tolist() == soft_nms(boxes, scores)[1].tolist()

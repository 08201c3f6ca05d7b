import numpy as np
import torch
from mmcv.ops import nms_match


def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def reference(rows, threshold):
    """Greedily, one pair of boxes at a time."""
    left = sorted(range(len(rows)), key=lambda i: -rows[i][4])
    groups = []
    while left:
        group = [i for i in left if i == left[0] or iou(rows[left[0]], rows[i]) >= threshold]
        groups.append(group)
        left = [i for i in left if i not in group]
    return groups


def test_groups_of_a_greedy_loop():
    generator = torch.Generator().manual_seed(0)
    corners = 20 * torch.rand(60, 2, generator=generator)
    sides = 5 + 15 * torch.rand(60, 2, generator=generator)
    scores = torch.rand(60, 1, generator=generator)
    dets = torch.cat([corners, corners + sides, scores], dim=1)
    expected = reference(dets.tolist(), 0.4)
    assert 5 < len(expected) < 40
    assert [group.tolist() for group in nms_match(dets, 0.4)] == expected
    assert [group.tolist() for group in nms_match(dets.numpy(), 0.4)] == expected


def test_an_iou_equal_to_the_threshold_is_a_match():
    dets = torch.tensor([[0, 0, 2, 2, 0.9], [0, 0, 2, 1, 0.8], [0, 0, 0, 0, 0.7]])
    assert [group.tolist() for group in nms_match(dets, 0.5)] == [[0, 1], [2]]
    assert nms_match(np.zeros((0, 5), dtype=np.float32), 0.5) == []

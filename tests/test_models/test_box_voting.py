import pytest
import torch

from mmscratch.models.box_voting import vote_boxes

# The first is kept; the second overlaps it by 100 / 110, the third by exactly 100 / 200.
ALL_BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 20]])
ALL_SCORES = torch.tensor([0.9, 0.6, 0.5])


def test_a_box_becomes_the_mean_of_those_that_overlap_it_weighted_by_score():
    boxes = vote_boxes(ALL_BOXES[:1], ALL_BOXES, ALL_SCORES, 0.9)
    bottom = (0.9 * 10 + 0.6 * 11) / (0.9 + 0.6)
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 0.0, 10.0, bottom]]))


def test_the_threshold_itself_is_enough():
    boxes = vote_boxes(ALL_BOXES[:1], ALL_BOXES, ALL_SCORES, 0.5)
    bottom = (0.9 * 10 + 0.6 * 11 + 0.5 * 20) / (0.9 + 0.6 + 0.5)
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 0.0, 10.0, bottom]]))


def test_it_is_what_a_loop_over_all_pairs_gives():
    generator = torch.Generator().manual_seed(0)
    corners = 20 * torch.rand(60, 2, generator=generator)
    all_boxes = torch.cat([corners, corners + 20 + torch.rand(60, 2, generator=generator)], dim=1)
    all_scores = torch.rand(60, generator=generator)
    boxes = vote_boxes(all_boxes[:20], all_boxes, all_scores, 0.6)
    moved = 0
    for kept, voted in zip(all_boxes[:20].tolist(), boxes.tolist()):
        total, sums = 0.0, [0.0] * 4
        for other, score in zip(all_boxes.tolist(), all_scores.tolist()):
            width = min(kept[2], other[2]) - max(kept[0], other[0])
            height = min(kept[3], other[3]) - max(kept[1], other[1])
            overlap = max(width, 0) * max(height, 0)
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (kept, other)]
            if overlap / (sum(areas) - overlap) >= 0.6:
                total += score
                sums = [s + score * coordinate for s, coordinate in zip(sums, other)]
        assert voted == pytest.approx([s / total for s in sums], rel=1e-6)
        moved += voted != kept
    assert moved > 10


def test_a_box_that_votes_alone_stays_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    corners = 1000 * torch.arange(50)[:, None] + torch.rand(50, 2, generator=generator)
    boxes = torch.cat([corners, corners + 30 * torch.rand(50, 2, generator=generator)], dim=1)
    scores = torch.rand(50, generator=generator)
    assert torch.equal(vote_boxes(boxes, boxes, scores, 0.9), boxes)


def test_a_box_without_area_overlaps_nothing_and_stays():
    boxes, scores = torch.tensor([[5.0, 5, 5, 9], [0, 0, 10, 10]]), torch.tensor([0.7, 0.9])
    assert torch.equal(vote_boxes(boxes, boxes, scores, 0.9), boxes)


def test_no_boxes():
    assert vote_boxes(ALL_BOXES[:0], ALL_BOXES[:0], ALL_SCORES[:0], 0.9).shape == (0, 4)


def test_what_is_given_is_not_changed():
    boxes = ALL_BOXES[:1].clone()
    vote_boxes(boxes, ALL_BOXES, ALL_SCORES, 0.5)
    assert torch.equal(boxes, ALL_BOXES[:1])

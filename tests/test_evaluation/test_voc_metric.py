"""MMDetection's VOCMetric, as the VOC configs call it, on cases worked by hand."""

import pytest
import torch
from mmdet.evaluation import VOCMetric


def image(truth: list, difficult: list, detections: list) -> dict:
    """Ground truth (label, box), difficult ones, detections (label, box, score) of an image."""

    def instances(rows: list) -> dict:
        return dict(
            labels=torch.tensor([row[0] for row in rows], dtype=torch.long),
            bboxes=torch.tensor([row[1] for row in rows], dtype=torch.float32).reshape(-1, 4),
        )

    scores = torch.tensor([row[2] for row in detections], dtype=torch.float32)
    return dict(
        gt_instances=instances(truth),
        ignored_instances=instances(difficult),
        pred_instances=dict(instances(detections), scores=scores),
    )


def evaluate(images: list[dict]) -> float:
    metric = VOCMetric(eval_mode='area')
    metric.dataset_meta = dict(classes=('dog', 'cat', 'cow'), dataset_type=None)
    for one in images:
        metric.process({}, [one])
    return metric.evaluate(len(images))['pascal_voc/mAP']


A, B, C, D = ([x, 0.0, x + 9.0, 9.0] for x in (0.0, 20.0, 40.0, 60.0))


def test_area_under_the_envelope_with_a_duplicate():
    """By falling score hit, duplicate, miss, hit, of 4: envelope 1 to recall 1/4, then 1/2."""
    first = image([(0, A), (0, B)], [], [(0, A, 0.9), (0, A, 0.8), (0, C, 0.7)])
    second = image([(0, A), (0, B)], [], [(0, B, 0.6)])
    assert evaluate([first, second]) == pytest.approx(1 / 4 * 1 + 1 / 4 * 1 / 2)


def test_a_difficult_object_is_neither_found_nor_missed():
    """Precision and recall are those without it and without the detections on it."""
    rows = [(0, A, 0.7), (0, D, 0.9), (0, D, 0.8)]
    assert evaluate([image([(0, A), (0, B)], [(0, D)], rows)]) == pytest.approx(1 / 2)
    # were it an ordinary object: hit, duplicate, hit of 3
    assert evaluate([image([(0, A), (0, B), (0, D)], [], rows)]) == pytest.approx(
        1 / 3 * 1 + 1 / 3 * 2 / 3
    )


def test_mean_is_over_the_classes_that_have_objects():
    """Dog 1, cat 0; the false cow counts nowhere."""
    rows = [(0, A, 0.9), (1, A, 0.9), (2, C, 0.9)]
    assert evaluate([image([(0, A), (1, B)], [], rows)]) == pytest.approx(1 / 2)


@pytest.mark.parametrize(('x2', 'found'), [(4.0, 1.0), (3.0, 0.0)])
def test_an_overlap_of_one_half_is_enough_and_corners_are_inclusive(x2, found):
    """A is 10 wide; a box from 0 to 4 is 5 wide."""
    assert evaluate([image([(0, A)], [], [(0, [0.0, 0.0, x2, 9.0], 0.9)])]) == found

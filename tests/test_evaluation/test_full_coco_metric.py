"""The numbers against pycocotools, on detections that are partly right."""

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmscratch.evaluation import FullCocoMetric
from mmscratch.evaluation.full_coco_metric import COCO_NUMBERS

CLASSES = ('a', 'b', 'c')


def rectangle_mask(x: int, y: int, w: int, h: int, size: int) -> np.ndarray:
    bitmap = np.zeros((size, size), dtype=np.uint8)
    bitmap[y : y + h, x : x + w] = 1
    return bitmap


@pytest.fixture(scope='module')
def truth_and_samples(tmp_path_factory) -> tuple[Path, list[dict]]:
    """Six images of 200 px with boxes of all COCO sizes; class c occurs nowhere."""
    rng = np.random.RandomState(0)
    size = 200
    images, annotations, samples = [], [], []
    for image_id in range(1, 7):
        images.append(dict(id=image_id, width=size, height=size, file_name=f'{image_id}.png'))
        boxes, scores, labels, masks = [], [], [], []
        for _ in range(8):
            w, h = (int(side) for side in rng.randint(8, 120, 2))
            x, y = int(rng.randint(0, size - w)), int(rng.randint(0, size - h))
            label = int(rng.randint(2))
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=10 + label,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(rng.rand() < 0.1),
                    segmentation=polygon,
                )
            )
            dx, dy = (int(shift) for shift in rng.randint(-4, 5, 2))
            x, y = min(max(x + dx, 0), size - w), min(max(y + dy, 0), size - h)
            boxes.append([x, y, x + w, y + h])
            scores.append(rng.rand())
            labels.append(label if rng.rand() < 0.8 else 1 - label)
            masks.append(rectangle_mask(x, y, w, h, size))
        pred = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.tensor(scores),
            labels=torch.tensor(labels),
            masks=torch.from_numpy(np.stack(masks)).bool(),
        )
        samples.append(dict(img_id=image_id, ori_shape=(size, size), pred_instances=pred))
    file = tmp_path_factory.mktemp('coco') / 'truth.json'
    categories = [dict(id=10 + k, name=name) for k, name in enumerate(CLASSES)]
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return file, samples


def evaluate(file: Path, samples: list[dict], metric: list[str]) -> dict[str, float]:
    full = FullCocoMetric(ann_file=str(file), metric=metric)
    full.dataset_meta = dict(classes=CLASSES)
    full.process({}, copy.deepcopy(samples))
    return full.evaluate(len(samples))


def reference(file: Path, samples: list[dict], metric: str) -> np.ndarray:
    detections = []
    for sample in samples:
        pred = sample['pred_instances']
        for box, score, label, mask in zip(*pred.values()):
            x1, y1, x2, y2 = box.tolist()
            detection = dict(
                image_id=sample['img_id'], score=float(score), category_id=10 + int(label)
            )
            if metric == 'bbox':
                detection['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            else:
                detection['segmentation'] = mask_api.encode(
                    np.asfortranarray(mask.numpy().astype(np.uint8))
                )
            detections.append(detection)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
        evaluation = COCOeval(coco, coco.loadRes(detections), metric)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_the_twelve_numbers_are_those_of_pycocotools(truth_and_samples, metric):
    file, samples = truth_and_samples
    numbers = evaluate(file, samples, ['bbox', 'segm'])
    ours = [numbers[f'coco/{metric}_{name}'] for name in COCO_NUMBERS]
    expected = reference(file, samples, metric)
    assert 0.1 < expected[0] < 0.9
    assert len(set(np.round(expected, 6))) > 8, 'the case is too simple to tell the numbers apart'
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_ap_per_class_averages_to_ap_and_a_class_without_objects_has_none(truth_and_samples):
    numbers = evaluate(*truth_and_samples, ['bbox'])
    per_class = [numbers[f'coco/bbox_AP/{name}'] for name in CLASSES]
    assert per_class[2] == -1
    assert np.mean(per_class[:2]) == pytest.approx(numbers['coco/bbox_mAP'])


def test_a_detector_that_finds_nothing_has_ap_0(truth_and_samples):
    file, samples = truth_and_samples
    empty = copy.deepcopy(samples)
    for sample in empty:
        sample['pred_instances'] = {
            key: value[:0] for key, value in sample['pred_instances'].items()
        }
    numbers = evaluate(file, empty, ['bbox', 'segm'])
    assert numbers['coco/bbox_mAP'] == numbers['coco/segm_mAP'] == 0
    assert numbers['coco/segm_AR@100'] == 0

"""The numbers against pycocotools, and the whole way from annotation to AP."""

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmscratch.data.coco_keypoint_dataset import CocoKeypointDataset
from mmscratch.evaluation import CocoKeypointMetric
from mmscratch.evaluation.coco_keypoint_metric import KEYPOINT_NUMBERS
from mmscratch.models import KeypointRCNNHead

SIGMAS = CocoKeypointDataset.METAINFO['keypoint_sigmas']
META = dict(classes=('person',), keypoint_sigmas=SIGMAS)


@pytest.fixture(scope='module')
def truth(tmp_path_factory) -> Path:
    """Five images with four persons each, 60 to 300 pixels high; some keypoints not labelled."""
    rng = np.random.RandomState(0)
    images, annotations = [], []
    for image_id in range(1, 6):
        images.append(dict(id=image_id, width=640, height=480, file_name=f'{image_id}.png'))
        for number in range(4):
            w, h = (int(side) for side in rng.randint(60, 160, 2))
            x, y = 160 * number, int(rng.randint(0, 480 - h))
            visible = rng.randint(0, 3, 17) if number else np.zeros(17, int)
            points = np.stack([rng.randint(x, x + w, 17), rng.randint(y, y + h, 17), visible], 1)
            points[visible == 0] = 0
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=1,
                    bbox=[x, y, w, h],
                    area=w * h * 0.6,
                    iscrowd=0,
                    keypoints=points.ravel().tolist(),
                    num_keypoints=int((visible > 0).sum()),
                )
            )
    file = tmp_path_factory.mktemp('coco') / 'truth.json'
    categories = [dict(id=1, name='person')]
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return file


def objects(file: Path) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Boxes (N, 4) and keypoints (N, 17, 3) in continuous coordinates by image, as if loaded."""
    by_image: dict[int, list[dict]] = {}
    for row in json.loads(file.read_text())['annotations']:
        by_image.setdefault(row['image_id'], []).append(row)
    result = {}
    for image_id, rows in by_image.items():
        boxes = torch.tensor([row['bbox'] for row in rows], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        keypoints = torch.tensor([row['keypoints'] for row in rows], dtype=torch.float32)
        keypoints = keypoints.view(-1, 17, 3)
        keypoints[..., :2] += 0.5
        result[image_id] = boxes, keypoints
    return result


def sample(image_id: int, boxes: torch.Tensor, keypoints: torch.Tensor, scores=None) -> dict:
    pred = dict(
        bboxes=boxes,
        labels=torch.zeros(len(boxes), dtype=torch.long),
        scores=torch.ones(len(boxes)) if scores is None else scores,
        keypoints=keypoints,
    )
    return dict(img_id=image_id, ori_shape=(480, 640), pred_instances=pred)


def evaluate(file: Path, samples: list[dict], meta: dict = META, **kwargs) -> dict[str, float]:
    metric = CocoKeypointMetric(ann_file=str(file), **kwargs)
    metric.dataset_meta = meta
    metric.process({}, copy.deepcopy(samples))
    return metric.evaluate(len(samples))


def noisy(file: Path) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    samples = []
    for image_id, (boxes, keypoints) in objects(file).items():
        moved = keypoints.clone()
        moved[..., :2] += torch.randn(moved[..., :2].shape, generator=generator) * 4
        samples.append(sample(image_id, boxes, moved, torch.rand(len(boxes), generator=generator)))
    return samples


def test_truth_encoded_decoded_and_evaluated_is_perfect(truth):
    """The bins that training aims at, read as heatmaps, miss no OKS threshold."""
    head = KeypointRCNNHead(num_convs=1, in_channels=4, conv_out_channels=4)
    samples = []
    for image_id, (boxes, keypoints) in objects(truth).items():
        bins, _ = head.get_targets(boxes, keypoints, 56)
        heatmaps = torch.zeros(len(boxes), 17, 56 * 56).scatter_(2, bins[..., None], 20.0)
        found, _ = head.predict_by_feat(heatmaps.view(-1, 17, 56, 56), boxes)
        samples.append(sample(image_id, boxes, found))
    numbers = evaluate(truth, samples)
    for name in ('mAP', 'mAP_50', 'mAP_75', 'mAP_m', 'mAP_l', 'AR', 'AP/person'):
        assert numbers[f'coco/keypoints_{name}'] == pytest.approx(1.0), name
    assert numbers['coco/bbox_mAP'] == pytest.approx(1.0)


def test_the_ten_numbers_are_those_of_pycocotools(truth):
    samples = noisy(truth)
    rows = []
    for one in samples:
        pred = one['pred_instances']
        for keypoints, score in zip(pred['keypoints'].numpy(), pred['scores']):
            points = keypoints.astype(float)
            points[:, :2] -= 0.5
            rows.append(
                dict(
                    image_id=one['img_id'],
                    category_id=1,
                    keypoints=points.ravel().tolist(),
                    score=float(score),
                )
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(rows), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 0.9
    numbers = evaluate(truth, samples)
    ours = [numbers[f'coco/keypoints_{name}'] for name in KEYPOINT_NUMBERS]
    np.testing.assert_allclose(ours, evaluation.stats, atol=1e-9)
    assert numbers['coco/keypoints_AP/person'] == pytest.approx(evaluation.stats[0])


def test_sigmas_are_the_data_sets(truth):
    strict = dict(META, keypoint_sigmas=[0.01] * 17)
    usual, stern = (
        evaluate(truth, noisy(truth), meta)['coco/keypoints_mAP'] for meta in (META, strict)
    )
    assert stern < usual / 2


def test_half_a_pixel_matters(truth):
    """Continuous coordinates written as indices of pixels would miss by half a pixel."""
    right = []
    for image_id, (boxes, keypoints) in objects(truth).items():
        # what is found on a person without keypoints does not count if it lies near the box
        middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        found = torch.where(keypoints[..., 2:] > 0, keypoints[..., :2], middles)
        right.append(sample(image_id, boxes, torch.cat([found, keypoints[..., 2:]], -1)))
    exact = dict(META, keypoint_sigmas=[1e-4] * 17)
    assert evaluate(truth, right, exact)['coco/keypoints_mAP'] == pytest.approx(1.0)
    for one in right:
        one['pred_instances']['keypoints'][..., :2] -= 0.5
    assert evaluate(truth, right, exact)['coco/keypoints_mAP'] == 0


def test_files_that_leave_out_num_keypoints_or_keypoints(truth, tmp_path):
    data = json.loads(truth.read_text())
    for row in data['annotations']:
        if not row.pop('num_keypoints'):
            del row['keypoints']
    file = tmp_path / 'truth.json'
    file.write_text(json.dumps(data))
    assert evaluate(file, noisy(truth)) == evaluate(truth, noisy(truth))
    for none in (None, []):
        for row in data['annotations']:
            row['num_keypoints'] = None
            if not any(row.get('keypoints') or ()):
                row.update(keypoints=none)
        file.write_text(json.dumps(data))
        assert evaluate(file, noisy(truth)) == evaluate(truth, noisy(truth))


def test_finding_nothing_is_ap_0(truth):
    empty = [
        sample(image_id, boxes[:0], keypoints[:0])
        for image_id, (boxes, keypoints) in objects(truth).items()
    ]
    numbers = evaluate(truth, empty)
    assert numbers['coco/keypoints_mAP'] == numbers['coco/bbox_mAP'] == 0


def test_boxes_alone(truth):
    numbers = evaluate(truth, noisy(truth), metric='bbox')
    assert 'coco/bbox_mAP' in numbers
    assert not [name for name in numbers if 'keypoints' in name]


def test_ids_may_be_any_whole_numbers_and_classes_keep_their_ap(truth, tmp_path):
    """'car' has no keypoints, and in the other file the lower id."""
    data = json.loads(truth.read_text())
    data['categories'].append(dict(id=2, name='car'))
    plain, other = tmp_path / 'plain.json', tmp_path / 'other.json'
    plain.write_text(json.dumps(data))
    for row in data['images']:
        row['id'] += 2**63
    for row in data['annotations']:
        row.update(
            id=1 - row['id'], image_id=row['image_id'] + 2**63, category_id=-row['category_id']
        )
    for row in data['categories']:
        row['id'] *= -1
    other.write_text(json.dumps(data))
    meta = dict(META, classes=('person', 'car'))
    renamed = [dict(one, img_id=one['img_id'] + 2**63) for one in noisy(truth)]
    expected = evaluate(truth, noisy(truth))
    for numbers in (evaluate(plain, noisy(truth), meta), evaluate(other, renamed, meta)):
        assert {name: numbers[name] for name in expected} == expected
        assert numbers['coco/keypoints_AP/car'] == numbers['coco/bbox_AP/car'] == -1


def test_20_detections_count_or_as_many_as_asked_for(tmp_path):
    row = dict(image_id=1, category_id=1, iscrowd=0, area=400)
    annotations, boxes, points = [], [], []
    for k in range(30):
        x, y = 60 * (k % 6), 60 * (k // 6)
        keypoints = [[x + k % 5, y + k % 7, 2] for k in range(17)]
        boxes.append([x, y, x + 20, y + 20])
        points.append(keypoints)
        annotations.append(
            dict(row, id=k, bbox=[x, y, 20, 20], keypoints=np.ravel(keypoints).tolist())
        )
    data = dict(
        images=[dict(id=1, width=400, height=400, file_name='1.png')],
        annotations=annotations,
        categories=[dict(id=1, name='person')],
    )
    file = tmp_path / 'truth.json'
    file.write_text(json.dumps(data))
    keypoints = torch.tensor(points, dtype=torch.float32)
    keypoints[..., :2] += 0.5
    samples = [sample(1, torch.tensor(boxes, dtype=torch.float32), keypoints)]
    usual = evaluate(file, samples)
    assert usual['coco/keypoints_AR'] == pytest.approx(2 / 3)
    assert usual['coco/bbox_AR@100'] == 1
    numbers = evaluate(file, samples, proposal_nums=[1, 10, 30])
    assert numbers['coco/keypoints_AR'] == numbers['coco/bbox_AR@30'] == 1


def test_names_are_the_keys_of_what_is_returned(truth):
    metric = CocoKeypointMetric(ann_file=str(truth))
    metric.dataset_meta = META
    metric.process({}, noisy(truth))
    assert list(metric.evaluate(5)) == metric.metric_names()


def test_keypoints_come_first(tmp_path):
    """CheckpointHook's save_best='auto' takes the first number."""
    file = tmp_path / 'truth.json'
    file.write_text(json.dumps(dict(images=[], annotations=[], categories=[])))
    for metric in (['bbox', 'keypoints'], ['segm', 'keypoints', 'bbox']):
        evaluator = CocoKeypointMetric(ann_file=str(file), metric=metric)
        evaluator.dataset_meta = dict(classes=('a',))
        assert evaluator.metric_names()[0] == 'coco/keypoints_mAP'

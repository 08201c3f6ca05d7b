"""The numbers against pycocotools, on detections that are partly right."""

import contextlib
import copy
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmscratch.errors import InputError
from mmscratch.evaluation import FullCocoMetric
from mmscratch.evaluation.full_coco_metric import coco_numbers

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


def evaluate(file: Path, samples: list[dict], metric: list[str], **kwargs) -> dict[str, float]:
    full = FullCocoMetric(ann_file=str(file), metric=metric, **kwargs)
    full.dataset_meta = dict(classes=CLASSES)
    full.process({}, copy.deepcopy(samples))
    return full.evaluate(len(samples))


def reference(file: Path, samples: list[dict], metric: str, max_dets=(1, 10, 100)) -> COCOeval:
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
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_the_twelve_numbers_are_those_of_pycocotools(truth_and_samples, metric):
    file, samples = truth_and_samples
    numbers = evaluate(file, samples, ['bbox', 'segm'])
    ours = [numbers[f'coco/{metric}_{name}'] for name in coco_numbers()]
    expected = reference(file, samples, metric).stats
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


def rle(row: dict, size: int) -> dict:
    mask = rectangle_mask(*row['bbox'], size)
    found = mask_api.encode(np.asfortranarray(mask))
    return dict(size=found['size'], counts=found['counts'].decode())


def with_other_ids(file: Path, samples: list[dict], to: Path, images, annotations, categories):
    """The same data under other ids, crowds as RLE, in a mixed order of annotations."""
    data = json.loads(file.read_text())
    for row in data['images']:
        row['id'] = images(row['id'])
    for row in data['annotations']:
        if row['iscrowd']:
            row['segmentation'] = rle(row, 200)
        row['image_id'] = images(row['image_id'])
        row['category_id'] = categories(row['category_id'])
        row['id'] = annotations(row['id'])
    for row in data['categories']:
        row['id'] = categories(row['id'])
    to.write_text(json.dumps(data))
    return [dict(sample, img_id=images(sample['img_id'])) for sample in samples]


IDS = {
    'annotations from 0': (lambda i: i, lambda i: i - 1, lambda i: i),
    'negative': (lambda i: i - 100, lambda i: -i, lambda i: -i),
    'both sides of 0': (lambda i: i - 3, lambda i: i - 20, lambda i: i - 11),
    'beyond 2**53': (*[lambda i: 2**53 + i] * 2, lambda i: 2**53 + 100 - i),
    'beyond 2**63': (*[lambda i: 2**63 + 7 * i] * 2, lambda i: 2**63 + 100 - 7 * i),
    'beyond 2**64': (*[lambda i: 2**64 + i] * 2, lambda i: 2**70 - i),
    'both signs of 64 bits': (lambda i: (i - 3) * 2**62, lambda i: (i - 20) * 2**60, lambda i: -i),
    'gaps': (lambda i: i**5, lambda i: (7 * i) % 101 * 13 + 5, {10: 90, 11: 2, 12: 40}.get),
}


@pytest.mark.parametrize('case', IDS)
def test_ids_may_be_any_whole_numbers(truth_and_samples, tmp_path, case):
    file, samples = truth_and_samples
    other = tmp_path / 'other.json'
    renamed = with_other_ids(file, samples, other, *IDS[case])
    out = tmp_path / 'out'
    numbers = evaluate(other, renamed, ['bbox', 'segm'], outfile_prefix=str(out))
    assert numbers == evaluate(file, samples, ['bbox', 'segm'])
    for metric in ('bbox', 'segm'):
        written = json.loads(Path(f'{out}.{metric}.json').read_text())
        images, _, categories = IDS[case]
        assert {row['image_id'] for row in written} == {images(i) for i in range(1, 7)}
        assert {row['category_id'] for row in written} == {categories(10), categories(11)}


def test_ap_is_that_of_the_class_whatever_the_order_of_ids(truth_and_samples, tmp_path):
    """a and b are labels 0 and 1, listed in this order; c, the third, occurs nowhere."""
    file, samples = truth_and_samples
    expected = reference(file, samples, 'bbox').eval['precision'][..., 0, -1]
    other = tmp_path / 'other.json'
    renamed = with_other_ids(file, samples, other, lambda i: i, lambda i: i, lambda i: 30 - i)
    numbers = evaluate(other, renamed, ['bbox'])
    assert numbers['coco/bbox_AP/a'] == expected[:, :, 0].mean()
    assert numbers['coco/bbox_AP/b'] == expected[:, :, 1].mean()
    assert numbers['coco/bbox_AP/a'] != numbers['coco/bbox_AP/b']
    assert numbers['coco/bbox_AP/c'] == -1


def test_only_images_that_were_evaluated_count(truth_and_samples, tmp_path):
    file, samples = truth_and_samples
    data = json.loads(file.read_text())
    for key, name in (('images', 'id'), ('annotations', 'image_id')):
        data[key] = [row for row in data[key] if row[name] in (2, 5)]
    part = tmp_path / 'part.json'
    part.write_text(json.dumps(data))
    few = [sample for sample in samples if sample['img_id'] in (2, 5)]
    assert evaluate(file, few, ['bbox']) == evaluate(part, few, ['bbox'])


def test_what_else_a_file_says_does_not_matter(truth_and_samples, tmp_path):
    file, samples = truth_and_samples
    data = json.loads(file.read_text())
    for row in data['images']:
        row.update(license='MIT', date_captured=2026, neg_category_ids='none')
    for row in data['annotations']:
        row.update(attributes=dict(occluded=[True]), num_keypoints=None, ignore='no', score='high')
    for row in data['categories']:
        row.update(supercategory=None, skeleton='none')
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(data))
    kinds = ['bbox', 'segm']
    assert evaluate(other, samples, kinds) == evaluate(file, samples, kinds)


def test_masks_may_have_scores_of_their_own(truth_and_samples):
    file, samples = truth_and_samples
    rescored, swapped = copy.deepcopy(samples), copy.deepcopy(samples)
    for one, other in zip(rescored, swapped):
        scores = one['pred_instances']['scores'].flip(0)
        one['pred_instances']['mask_scores'] = other['pred_instances']['scores'] = scores
    kinds = ['bbox', 'segm']
    numbers, usual, expected = (
        evaluate(file, given, kinds) for given in (rescored, samples, swapped)
    )
    assert usual['coco/segm_mAP'] != expected['coco/segm_mAP']
    for name, number in numbers.items():
        assert number == (expected if 'segm' in name else usual)[name], name


def test_masks_are_kept_as_rle_which_predictions_may_have_already(truth_and_samples):
    file, samples = truth_and_samples
    encoded = copy.deepcopy(samples)
    for sample in encoded:
        masks = sample['pred_instances']['masks'].numpy().astype(np.uint8)
        sample['pred_instances']['masks'] = [
            mask_api.encode(np.asfortranarray(mask)) for mask in masks
        ]
    metric = FullCocoMetric(ann_file=str(file), metric='segm')
    metric.dataset_meta = dict(classes=CLASSES)
    kept = []
    for given in (samples, encoded):
        found = given[0]['pred_instances']
        masks = found['masks']
        metric.process({}, given)
        assert found['masks'] is masks  # other metrics get the same samples
        kept.append([list(result['masks']) for _, result in metric.results])
        metric.results.clear()
    assert kept[0] == kept[1]


def test_without_hotcoco_a_metric_says_what_to_do_when_it_is_built(truth_and_samples, monkeypatch):
    monkeypatch.setitem(sys.modules, 'hotcoco', None)
    with pytest.raises(InputError, match=r'^hotcoco .* cannot be imported .* pip install .*Rust'):
        FullCocoMetric(ann_file=str(truth_and_samples[0]))


def test_a_second_validation_yields_the_same(truth_and_samples):
    file, samples = truth_and_samples
    metric = FullCocoMetric(ann_file=str(file), metric=['segm', 'bbox'])
    metric.dataset_meta = dict(classes=CLASSES)
    before = copy.deepcopy(metric._coco_api.dataset)
    found = []
    for _ in range(2):
        metric.process({}, copy.deepcopy(samples))
        found.append(metric.evaluate(len(samples)))
    assert found[0] == found[1]
    assert metric._coco_api.dataset == before
    assert metric.metric_names() == list(found[0])


@pytest.mark.parametrize('limits', [(1, 2, 3), (1, 10, 300), (2, 5, 100)])
def test_proposal_nums_are_those_of_pycocotools(truth_and_samples, limits):
    """pycocotools' own AP is -1 without 100 detections; its arrays have it."""
    file, samples = truth_and_samples
    numbers = evaluate(file, samples, ['bbox'], proposal_nums=limits)
    assert list(numbers)[6:12] == [
        *(f'coco/bbox_AR@{limit}' for limit in limits),
        *(f'coco/bbox_AR_{size}@{limits[-1]}' for size in 'sml'),
    ]
    found = reference(file, samples, 'bbox', limits).eval
    precision, recall = found['precision'], found['recall']

    def mean(values):
        return values[values > -1].mean()

    expected = [mean(precision[..., 0, 2]), mean(precision[0, ..., 0, 2])]
    expected += [mean(precision[5, ..., 0, 2])]
    expected += [mean(precision[..., area, 2]) for area in (1, 2, 3)]
    expected += [mean(recall[..., 0, k]) for k in range(3)]
    expected += [mean(recall[..., area, 2]) for area in (1, 2, 3)]
    ours = [numbers[f'coco/bbox_{name}'] for name in coco_numbers(limits)]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_300_objects_of_a_class_in_an_image(tmp_path):
    boxes = [[12 * (k % 20), 12 * (k // 20), 10, 10] for k in range(300)]
    row = dict(image_id=1, category_id=1, iscrowd=0, area=100)
    data = dict(
        images=[dict(id=1, width=240, height=180, file_name='1.png')],
        annotations=[dict(row, id=k, bbox=box) for k, box in enumerate(boxes)],
        categories=[dict(id=1, name='a'), dict(id=2, name='b'), dict(id=3, name='c')],
    )
    file = tmp_path / 'truth.json'
    file.write_text(json.dumps(data))
    corners = torch.tensor(boxes, dtype=torch.float32)
    corners[:, 2:] += corners[:, :2]
    pred = dict(bboxes=corners, scores=torch.ones(300), labels=torch.zeros(300, dtype=torch.long))
    samples = [dict(img_id=1, ori_shape=(180, 240), pred_instances=pred)]
    assert evaluate(file, samples, ['bbox'])['coco/bbox_mAP'] == pytest.approx(0.337, abs=1e-3)
    numbers = evaluate(file, samples, ['bbox'], proposal_nums=[1, 10, 300])
    assert numbers['coco/bbox_mAP'] == numbers['coco/bbox_AR@300'] == 1


@pytest.mark.parametrize(
    'proposal_nums', [[300], [100, 1, 10], [0, 10, 100], [1, 10, 10], [1, 10, 1e3], '123', 300]
)
def test_proposal_nums_of_another_kind_are_refused(truth_and_samples, proposal_nums):
    with pytest.raises(InputError, match=r'proposal_nums=.*: give three ascending numbers'):
        FullCocoMetric(ann_file=str(truth_and_samples[0]), proposal_nums=proposal_nums)


def test_what_would_have_no_effect_is_refused(truth_and_samples):
    file = str(truth_and_samples[0])
    with pytest.raises(InputError, match="metric='proposal': give of bbox, segm"):
        FullCocoMetric(ann_file=file, metric=['bbox', 'proposal'])
    for argument in ('iou_thrs', 'metric_items', 'use_mp_eval', 'sort_categories'):
        with pytest.raises(TypeError, match=argument):
            FullCocoMetric(ann_file=file, **{argument: None})


def test_without_ap_of_each_class(truth_and_samples):
    numbers = evaluate(*truth_and_samples, ['bbox'], classwise=False)
    assert list(numbers) == [f'coco/bbox_{name}' for name in coco_numbers()]


def test_an_image_or_a_class_that_the_file_lacks_is_refused(truth_and_samples, tmp_path):
    file, samples = truth_and_samples
    strange = [dict(sample, img_id=sample['img_id'] + 2**60) for sample in samples]
    with pytest.raises(InputError, match=r'truth\.json: has no image 1152921504606846977, which'):
        evaluate(file, strange[:1], ['bbox'])
    data = json.loads(file.read_text())
    data['categories'].pop()
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"other\.json: lacks 1 of the classes, the first is 'c'"):
        evaluate(other, samples, ['bbox'])


def test_polygons_that_are_none_are_left_out_of_masks(truth_and_samples, tmp_path):
    """As in training; pycocotools would stop at them."""
    file, samples = truth_and_samples
    content = json.loads(file.read_text())
    first, second, *others = content['annotations']
    kept = dict(content, annotations=[second, *others])
    broken = dict(second, segmentation=[[], [1, 2, 3, 4], *second['segmentation']])
    spoilt = dict(content, annotations=[dict(first, segmentation=[[1, 2]]), broken, *others])
    numbers = []
    for name, data in (('kept', kept), ('spoilt', spoilt)):
        (tmp_path / f'{name}.json').write_text(json.dumps(data))
        numbers.append(evaluate(tmp_path / f'{name}.json', samples, ['bbox', 'segm']))
    segm = [{k: v for k, v in found.items() if 'segm' in k} for found in numbers]
    assert segm[0] == segm[1]
    # the object is still a box
    assert numbers[1]['coco/bbox_mAP'] == evaluate(file, samples, ['bbox'])['coco/bbox_mAP']
    assert numbers[0]['coco/bbox_mAP'] != numbers[1]['coco/bbox_mAP']

"""Statistics and whole arrays are those of pycocotools, bit by bit, on random data of all kinds."""

import contextlib
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmscratch.benchmark.evaluation import Drawn, draw
from mmscratch.data.coco_keypoint_dataset import PIXEL_CENTRE, CocoKeypointDataset
from mmscratch.evaluation import CocoKeypointMetric

KINDS = 'bbox', 'segm', 'keypoints'
USUAL = Drawn(images=40, classes=6, objects=5, detections=12, crowds=0.15)


class Kept(CocoKeypointMetric):
    """Keeps the arrays that its numbers are means of."""

    def _averaged(
        self, metric: str, precision: np.ndarray, recall: np.ndarray
    ) -> Iterator[np.ndarray]:
        self.arrays = precision, recall
        return super()._averaged(metric, precision, recall)


def rows(kind: str, predictions: list[dict], category_ids: list[int]) -> Iterator[dict]:
    for found in predictions:
        for k, label in enumerate(found['labels'].tolist()):
            row = dict(image_id=found['img_id'], category_id=category_ids[label])
            row['score'] = float(found['scores'][k])
            if kind == 'bbox':
                x1, y1, x2, y2 = found['bboxes'][k].tolist()
                row['bbox'] = [x1, y1, x2 - x1, y2 - y1]
            elif kind == 'segm':
                row['segmentation'] = found['masks'][k]
            else:
                points = found['keypoints'][k].astype(float)
                points[:, :2] -= PIXEL_CENTRE
                row['keypoints'] = points.ravel().tolist()
            yield row


def assert_equal(
    file: Path, predictions: list[dict], kind: str, proposal_nums: list[int] | None = None
) -> None:
    """By pycocotools and by the metric."""
    categories = json.loads(file.read_text())['categories']
    detections = list(rows(kind, predictions, [row['id'] for row in categories]))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        if detections:
            found = truth.loadRes(detections)
        else:  # loadRes takes none
            found = COCO()
            found.dataset = dict(truth.dataset, annotations=[])
            found.createIndex()
        expected = COCOeval(truth, found, kind)
        if proposal_nums:
            expected.params.maxDets = proposal_nums[-1:] if kind == 'keypoints' else proposal_nums
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
        metric = Kept(ann_file=str(file), metric=kind, proposal_nums=proposal_nums)
    names = [row['name'] for row in categories]
    metric.dataset_meta = CocoKeypointDataset.METAINFO | dict(classes=names)
    metric.results = [({}, dict(prediction)) for prediction in predictions]
    numbers = list(metric.evaluate(len(predictions)).values())
    precision, recall = metric.arrays
    np.testing.assert_array_equal(precision, expected.eval['precision'])
    np.testing.assert_array_equal(recall, expected.eval['recall'])
    if not proposal_nums:  # with others pycocotools' own AP is -1
        np.testing.assert_array_equal(numbers[: len(expected.stats)], expected.stats)
    for k, number in enumerate(numbers[len(expected.stats) :]):
        of_class = expected.eval['precision'][:, :, k, 0, -1]
        valid = of_class[of_class > -1]
        assert number == (valid.mean() if valid.size else -1)


def drawn(folder: Path, data: Drawn, seed: int) -> tuple[Path, list[dict]]:
    draw(folder / 'drawn', data, seed)
    predictions = pickle.loads((folder / 'drawn/predictions.pkl').read_bytes())
    return folder / 'drawn/truth.json', predictions


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('seed', range(3))
def test_random_sets(tmp_path, kind, seed):
    """Crowds, polygons and RLE, equal scores, classes that the image lacks."""
    file, predictions = drawn(tmp_path, USUAL, seed)
    for found in predictions:
        found['scores'] = found['scores'].round(1 + seed)
    annotations = json.loads(file.read_text())['annotations']
    assert sum(row['iscrowd'] for row in annotations) > 10
    assert_equal(file, predictions, kind)


@pytest.mark.parametrize('kind', KINDS)
def test_gaps_between_ids(tmp_path, kind):
    file, predictions = drawn(tmp_path, USUAL, 3)
    data = json.loads(file.read_text())
    for section, key in (('images', 'id'), ('annotations', 'image_id')):
        for row in data[section]:
            row[key] = 7 * row[key] ** 2
    for section, key in (('categories', 'id'), ('annotations', 'category_id')):
        for row in data[section]:
            row[key] = 2 ** row[key]
    for row in data['annotations']:
        row['id'] = 10**9 - 3 * row['id']
    file.write_text(json.dumps(data))
    renamed = [dict(found, img_id=7 * found['img_id'] ** 2) for found in predictions]
    assert_equal(file, renamed, kind)


@pytest.mark.parametrize('kind', KINDS)
def test_images_without_objects_and_images_without_detections(tmp_path, kind):
    file, predictions = drawn(tmp_path, Drawn(60, 4, 1, 3), 4)
    with_objects = {row['image_id'] for row in json.loads(file.read_text())['annotations']}
    some = max(predictions, key=lambda found: len(found['labels']))
    for found in predictions:
        if found['img_id'] not in with_objects and found['img_id'] % 2:
            found.update(some, img_id=found['img_id'])
    assert 10 < len(with_objects) < 50
    assert sum(not len(found['labels']) for found in predictions) > 5
    assert_equal(file, predictions, kind)


@pytest.mark.parametrize('kind', KINDS)
def test_no_detection_at_all(tmp_path, kind):
    file, predictions = drawn(tmp_path, Drawn(10, 3, 4, 5), 5)
    keys = 'bboxes', 'scores', 'labels', 'masks', 'keypoints'
    empty = [dict(found, **{key: found[key][:0] for key in keys}) for found in predictions]
    assert_equal(file, empty, kind)


@pytest.mark.parametrize('kind', KINDS)
def test_as_many_classes_and_detections_as_in_lvis(tmp_path, kind):
    file, predictions = drawn(tmp_path, Drawn(12, 1203, 12, 300), 6)
    assert max(len(found['labels']) for found in predictions) > 300
    assert_equal(file, predictions, kind, [1, 10, 300])


@pytest.mark.parametrize('kind', KINDS)
def test_other_numbers_of_detections(tmp_path, kind):
    file, predictions = drawn(tmp_path, Drawn(20, 2, 6, 40), 7)
    assert_equal(file, predictions, kind, [2, 5, 7])

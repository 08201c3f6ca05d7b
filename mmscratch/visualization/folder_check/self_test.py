"""The ground truth as its own detections: AP below 1.0 is what no detector can reach."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmscratch.data.coco_json import Rows
from mmscratch.data.mask_table import as_rle
from mmscratch.evaluation import FullCocoMetric
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.visualization.folder_check.split import Split

_AT_A_TIME = 5000  # images, which bounds the memory; AP is 1.0 if it is 1.0 of each part


def ap_of_truth(split: Split) -> dict[str, dict[str, float]]:
    """AP of boxes, and of masks if all objects have one, by class: the lowest of all parts.

    The evaluator is that of validation, ``FullCocoMetric``. Classes without objects are left out.
    """
    metrics = ['bbox']
    if split.annotations and all(row.get('segmentation') for row in split.annotations):
        metrics.append('segm')
    lowest: dict[str, dict[str, float]] = {metric: {} for metric in metrics}
    objects = split.objects()
    starts = range(0, len(split.images), _AT_A_TIME)
    for start in ProgressBar(starts, 'evaluating the ground truth', leave=False, delay=1):
        images = split.images[start : start + _AT_A_TIME]
        rows = [row for image in images for row in objects[image['id']]]
        for name, value in _evaluate(images, rows, split.categories, metrics) if rows else ():
            metric, _, label = name.partition('_AP/')
            if label and value >= 0:
                lowest[metric][label] = min(value, lowest[metric].get(label, 1.0))
    return lowest


def _evaluate(
    images: Rows, rows: Rows, categories: Rows, metrics: list[str]
) -> Iterator[tuple[str, float]]:
    found: dict[int, Rows] = {image['id']: [] for image in images}
    for row in rows:
        if not row['iscrowd']:
            found[row['image_id']].append(row)
    labels = {row['id']: number for number, row in enumerate(categories)}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        file = Path(folder, 'truth.json')
        file.write_text(json.dumps(dict(images=images, annotations=rows, categories=categories)))
        metric = FullCocoMetric(ann_file=str(file), metric=metrics)
    metric.dataset_meta = dict(classes=[row['name'] for row in categories])
    results: list[tuple[dict, dict]] = [
        ({}, _prediction(image, found[image['id']], labels, metrics)) for image in images
    ]
    yield from metric.compute_metrics(results).items()


def _prediction(
    image: dict[str, Any], rows: Rows, labels: dict[int, int], metrics: list[str]
) -> dict[str, Any]:
    boxes = np.array([row['bbox'] for row in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    prediction = dict(
        img_id=image['id'],
        bboxes=boxes,
        scores=np.ones(len(rows)),
        labels=np.array([labels[row['category_id']] for row in rows], int),
    )
    if 'segm' in metrics:
        size = image['height'], image['width']
        prediction['masks'] = [as_rle(row['segmentation'], *size) for row in rows]
    return prediction

"""COCO evaluation by several evaluators, timed in turns on the same drawn data."""

import contextlib
import gc
import importlib.util
import io
import json
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from mmscratch.benchmark.memory import peak_mb
from mmscratch.data.coco_keypoint_dataset import PIXEL_CENTRE

OURS, REFERENCE, FASTER = 'mmscratch', 'pycocotools', 'faster-coco-eval'
WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Drawn:
    """A drawn data set and its detections: means an image, and the share of crowds."""

    images: int
    classes: int
    objects: float
    detections: float
    kinds: tuple[str, ...] = ('bbox', 'segm')
    crowds: float = 0.01


PARTS = {
    'instances': Drawn(images=1500, classes=80, objects=7, detections=15),
    'persons': Drawn(images=1500, classes=1, objects=4, detections=10, kinds=('keypoints',)),
    # as many images as COCO val, and as many detections as COCO counts
    'val': Drawn(images=5000, classes=80, objects=7, detections=100),
}


def measure(
    folder: Path, tiny: bool, rounds: int = 5, parts: Sequence[str] = ('instances', 'persons')
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Time each evaluator in turns, from a COCO JSON and detections to numbers.

    Detections are in memory as a metric keeps them, arrays and RLE of each image. Each evaluator
    has a process of its own for each kind, as its peak of memory is to be no other's.

    Args:
        folder: Where to draw the data.
        tiny: A few images, for a test of the suite itself.
        rounds: How often each is timed.
        parts: Of ``PARTS``.

    Yields:
        All numbers so far. ``drawn`` are the sizes of the data; ``runs`` one dict a run, with wall
        clock ``seconds`` in all and ``load_seconds`` of them for the ground truth, ``cpu_seconds``
        of all threads, ``memory_mb``, the peak above what the process held before (later rounds
        find some free), and ``difference``, the largest to pycocotools among all numbers, classes'
        AP included.
    """
    names = [REFERENCE, OURS]
    if importlib.util.find_spec('faster_coco_eval'):  # no dependency
        names.insert(1, FASTER)
    numbers: dict[str, list[dict[str, Any]]] = dict(drawn=[], runs=[])
    for part in parts:
        drawn = Drawn(12, 3, 4, 6, PARTS[part].kinds) if tiny else PARTS[part]
        counts = draw(folder / part, drawn)
        numbers['drawn'].append(dict(part=part, **asdict(drawn), **counts))
    pools: dict[tuple[str, str, str], ProcessPoolExecutor] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(rounds):
            for part, kind in [(name, kind) for name in parts for kind in PARTS[name].kinds]:
                expected = None
                for name in names:
                    if (pool := pools.get((part, kind, name))) is None:
                        pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))
                        pools[part, kind, name] = stack.enter_context(pool)
                    run, found = pool.submit(timed, name, kind, folder / part).result()
                    expected = found if expected is None else expected
                    run['difference'] = float(np.abs(np.subtract(found, expected)).max())
                    numbers['runs'].append(dict(part=part, kind=kind, evaluator=name, **run))
                    yield numbers


def rows(numbers: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded, header first.

    Seconds are medians over the rounds, with the lowest and the highest; ratios are of medians.
    """
    cells = [['evaluation', 'evaluator', 'seconds', 'lowest', 'highest', 'times as fast']]
    cells[0] += ['without loading', 'CPU seconds', 'MB', 'largest difference']
    counts = {drawn['part']: drawn for drawn in numbers['drawn']}
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for run in numbers['runs']:
        group = groups.setdefault((run['part'], run['kind']), {})
        group.setdefault(run['evaluator'], []).append(run)
    for (part, kind), evaluators in groups.items():
        what = f'{kind}: {counts[part]["images"]:,} images, {counts[part]["n_detections"]:,} found'
        theirs = evaluators[REFERENCE]
        for name, runs in evaluators.items():
            seconds = [run['seconds'] for run in runs]
            cells.append([what, name, *(f'{f(seconds):.2f}' for f in (median, min, max))])
            for cost in (_seconds, _evaluation):
                cells[-1].append(f'{median(map(cost, theirs)) / median(map(cost, runs)):.1f}')
            cells[-1].append(f'{median(run["cpu_seconds"] for run in runs):.2f}')
            cells[-1].append(f'{max(run["memory_mb"] for run in runs):,.0f}')
            cells[-1].append(f'{max(run["difference"] for run in runs):g}')
    return cells


def _seconds(run: dict[str, Any]) -> float:
    return run['seconds']


def _evaluation(run: dict[str, Any]) -> float:
    return run['seconds'] - run['load_seconds']


def draw(folder: Path, drawn: Drawn, seed: int = 0) -> dict[str, int]:
    """Write ``truth.json`` and ``predictions.pkl``, what a metric keeps of each image.

    Objects are round outlines of 24 points, crowds uncompressed RLE; the frequency of classes
    falls by a power law. Half of the detections lie near an object, a fifth
    has a class at random. Scores have three digits, so many are equal.

    Returns:
        ``n_objects`` and ``n_detections``.
    """
    rng = np.random.default_rng(seed)
    limits = np.array([WIDTH, HEIGHT])
    annotations: list[dict[str, Any]] = []
    predictions = []
    for number in range(drawn.images):
        count = rng.poisson(drawn.objects)
        sizes = np.minimum(np.exp(rng.uniform(np.log(8), np.log(400), (count, 2))), limits - 1)
        boxes = np.concatenate([rng.random((count, 2)) * (limits - sizes), sizes], 1).round(2)
        labels = (rng.zipf(1.4, count) - 1) % drawn.classes
        phases = rng.uniform(0, 2 * np.pi, (count, 2))
        keypoints = boxes[:, None, :2] + rng.random((count, 17, 2)) * boxes[:, None, 2:]
        visible = rng.integers(0, 3, (count, 17, 1)) * (rng.random((count, 1, 1)) < 0.9)
        outlines = _outlines(boxes, phases)
        for k in range(count):
            polygon = outlines[k].ravel().round(2).tolist()
            rle = mask_api.frPyObjects([polygon], HEIGHT, WIDTH)[0]
            crowd = int(rng.random() < drawn.crowds)
            points = np.concatenate([keypoints[k].round(), visible[k]], 1) * (visible[k] > 0)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=int(labels[k]) + 1,
                    bbox=boxes[k].tolist(),
                    area=float(mask_api.area(rle)),
                    iscrowd=crowd,
                    segmentation=_uncompressed(rle) if crowd else [polygon],
                    keypoints=points.astype(int).ravel().tolist(),
                    num_keypoints=int((visible[k] > 0).sum()),
                )
            )
        found = rng.poisson(drawn.detections) if count else 0
        source = rng.integers(0, count, found) if count else np.zeros(0, int)
        shift = np.where(rng.random((found, 1)) < 0.5, 0.03, 0.5)
        moved = boxes[source] + rng.normal(0, shift, (found, 4)) * np.tile(boxes[source, 2:], 2)
        corner = np.clip(moved[:, :2], 0, limits - 4)
        moved = np.concatenate([corner, np.clip(moved[:, 2:], 3, limits - corner)], 1)
        masks = [
            mask_api.frPyObjects([outline.ravel().tolist()], HEIGHT, WIDTH)[0]
            for outline in _outlines(moved, phases[source])
        ]
        points = keypoints[source] + rng.normal(0, 10 * shift[:, None], (found, 17, 2))
        any_class = rng.integers(0, drawn.classes, found)
        predictions.append(
            dict(
                img_id=number,
                bboxes=np.concatenate([corner, corner + moved[:, 2:]], 1).astype(np.float32),
                scores=rng.random(found).round(3).astype(np.float32),
                labels=np.where(rng.random(found) < 0.2, any_class, labels[source]),
                masks=np.array(masks, dtype=object),
                keypoints=np.concatenate([points, np.ones((found, 17, 1))], 2, dtype=np.float32),
            )
        )
    images = [
        dict(id=number, width=WIDTH, height=HEIGHT, file_name=f'{number}.png')
        for number in range(drawn.images)
    ]
    categories = [dict(id=k + 1, name=f'class {k}') for k in range(drawn.classes)]
    folder.mkdir(parents=True)
    truth = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'predictions.pkl').write_bytes(pickle.dumps(predictions))
    n_detections = sum(len(prediction['labels']) for prediction in predictions)
    return dict(n_objects=len(annotations), n_detections=n_detections)


def _outlines(boxes: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Points (N, 24, 2) within boxes (N, 4), as x, y, width, height; phases (N, 2) shape them."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    first, second = phases[:, :1], phases[:, 1:]
    radius = 0.4 + 0.07 * np.sin(2 * angle + first) + 0.03 * np.sin(3 * angle + second)
    unit = 0.5 + radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return boxes[:, None, :2] + unit * boxes[:, None, 2:]


def _uncompressed(rle: dict[str, Any]) -> dict[str, Any]:
    pixels = mask_api.decode(rle).ravel(order='F')
    # a run of zeros is first, if an empty one
    changes = np.flatnonzero(np.diff(pixels, prepend=0, append=pixels[-1] ^ 1))
    return dict(size=rle['size'], counts=np.diff(changes, prepend=0).tolist())


def timed(name: str, kind: str, folder: Path) -> tuple[dict[str, Any], list[float]]:
    """What one evaluation costs, and its numbers."""
    predictions = pickle.loads((folder / 'predictions.pkl').read_bytes())
    file = folder / 'truth.json'
    classes = [row['name'] for row in json.loads(file.read_text())['categories']]
    load, evaluate = (_ours if name == OURS else _peer)(name, kind, classes, predictions)
    gc.collect()
    before = peak_mb(reset=True)
    with contextlib.redirect_stdout(io.StringIO()):
        cpu, begin = time.process_time(), time.perf_counter()
        truth = load(str(file))
        loaded = time.perf_counter()
        numbers = evaluate(truth)
        end = time.perf_counter()
    cpu = time.process_time() - cpu
    costs = dict(seconds=end - begin, load_seconds=loaded - begin, cpu_seconds=cpu)
    costs = {key: round(value, 4) for key, value in costs.items()}
    return costs | dict(memory_mb=round(peak_mb() - before, 1)), numbers


def _ours(
    name: str, kind: str, classes: Sequence[str], predictions: list[dict]
) -> tuple[Callable[[str], Any], Callable[[Any], list[float]]]:
    """How a run builds its metric, and evaluates what it kept of each image."""
    # what the first metric of a process imports is not timed, as the peers' imports are not
    import hotcoco  # noqa: F401

    import mmscratch.register_all  # noqa: F401
    from mmscratch.data import coco_api
    from mmscratch.data.coco_keypoint_dataset import CocoKeypointDataset
    from mmscratch.evaluation import CocoKeypointMetric

    coco_api.install([])

    def load(file: str) -> CocoKeypointMetric:
        metric = CocoKeypointMetric(ann_file=file, metric=kind)
        metric.dataset_meta = CocoKeypointDataset.METAINFO | dict(classes=classes)
        return metric

    def evaluate(metric: CocoKeypointMetric) -> list[float]:
        metric.results = [({}, prediction) for prediction in predictions]
        return list(metric.evaluate(len(predictions)).values())

    return load, evaluate


def _peer(
    name: str, kind: str, classes: Sequence[str], predictions: list[dict]
) -> tuple[Callable[[str], Any], Callable[[Any], list[float]]]:
    """How users of pycocotools and of faster-coco-eval call it."""
    if name == FASTER:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    def evaluate(truth: COCO) -> list[float]:
        found = list(_result_rows(kind, predictions))
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        precision = evaluation.eval['precision'][:, :, :, 0, -1]
        of_classes = [precision[:, :, k] for k in range(len(classes))]
        return [
            *map(float, evaluation.stats),
            *(float(of[of > -1].mean()) if (of > -1).any() else -1.0 for of in of_classes),
        ]

    return COCO, evaluate


def _result_rows(kind: str, predictions: list[dict]) -> Iterator[dict[str, Any]]:
    """What a result file of COCO has."""
    for prediction in predictions:
        boxes = prediction['bboxes'].astype(float)
        boxes[:, 2:] -= boxes[:, :2]
        keypoints = prediction['keypoints'] - [PIXEL_CENTRE, PIXEL_CENTRE, 0]
        for k, label in enumerate(prediction['labels'].tolist()):
            row = dict(
                image_id=prediction['img_id'],
                category_id=label + 1,
                score=float(prediction['scores'][k]),
            )
            if kind == 'bbox':
                row['bbox'] = boxes[k].tolist()
            elif kind == 'segm':
                row['segmentation'] = prediction['masks'][k]
            else:
                row['keypoints'] = keypoints[k].ravel().tolist()
            yield row

"""Detections of several initializations on the same validation images, beside the truth."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.evaluation import bbox_overlaps
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger
from numpy.typing import NDArray

from mmscratch.data.transforms import LoadImageFromFile
from mmscratch.errors import describe
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.process import whole_file
from mmscratch.visualization import html_page

# keeps the pictures, for the page to be written again when the checkpoints are gone
FILE = 'examples.json'
IMAGES = 4
# detections below this score are not drawn
SCORE = 0.3
# of the longer side of an embedded image, at most
PIXELS = 640


def of(folder: Path, checkpoints: Mapping[str, Path]) -> dict[str, Any]:
    """The pictures of these checkpoints: those that ``folder`` keeps, or new ones.

    Args:
        folder: has ``examples.json``, or gets it.
        checkpoints: of each arm. Their folders are named after the keys of the runs.

    Returns:
        ``classes``; ``images``, each with ``name``, ``width``, ``height``, ``jpeg``, ``truth`` and,
        by arm, ``found``: boxes with the class's number, the score, and whether they are right.
        Or ``missing``: why there are none.
    """
    names = {arm: str(Path(file.parent.name, file.name)) for arm, file in checkpoints.items()}
    kept = folder / FILE
    if kept.is_file() and (content := json.loads(kept.read_text()))['checkpoints'] == names:
        return content
    if not checkpoints:
        return dict(missing='they are drawn after the longest runs on the most images')
    if lost := [str(file) for file in checkpoints.values() if not file.is_file()]:
        return dict(missing=f'there is no {lost[0]} any more')
    try:
        with _quiet():
            content = dict(checkpoints=names, score=SCORE, **_draw(checkpoints))
    # such as a GPU without memory: the answer is worth more than its pictures
    except Exception as error:
        return dict(missing=describe(error))
    whole_file.write(kept, json.dumps(content))
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that loading a checkpoint and annotations prints."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _draw(checkpoints: Mapping[str, Path]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    for arm, file in checkpoints.items():
        # beside runs that have the GPU
        inferencer = Inferencer(weights=str(file), device='cpu', show_progress=False)
        classes = inferencer.model.dataset_meta['classes']
        if not images:
            # the data without the steps that load it
            dataset = DATASETS.build(
                inferencer.model.cfg.test_dataloader.dataset | dict(pipeline=[])
            )
            infos = [dataset.get_data_info(i) for i in range(len(dataset))]
            images = _images(infos, inferencer.loader)
        for image in images:
            predictions = inferencer(image['name'], return_vis=False, no_save_vis=True)
            image['found'][arm] = _judged(predictions['predictions'][0], image['truth'])
    for image in images:
        image['name'] = Path(image['name']).name
    return dict(classes=classes, images=images)


def _images(infos: list[dict[str, Any]], loader: LoadImageFromFile) -> list[dict[str, Any]]:
    """Some images with objects, from all parts of the list, none of them chosen."""
    infos = [info for info in infos if info['instances']]
    chosen = np.linspace(0, len(infos) - 1, min(IMAGES, len(infos))).round().astype(int)
    images = []
    for info in (infos[i] for i in chosen):
        pixels = loader.picture(info['img_path'])[..., ::-1]
        height, width = pixels.shape[:2]
        small = html_page.thumbnail(pixels, PIXELS)
        truth = [[*map(float, each['bbox']), each['bbox_label']] for each in info['instances']]
        images.append(
            dict(name=info['img_path'], width=width, height=height, jpeg=html_page.jpeg(small))
            | dict(truth=truth, found={})
        )
    return images


def _judged(found: dict[str, Any], truth: list[list[float]]) -> list[list[Any]]:
    """Boxes with class, score, and whether they fit an object of the class that none did before."""
    rest = list(truth)
    boxes = []
    for box, label, score in zip(found['bboxes'], found['labels'], found['scores']):
        if score < SCORE:
            continue
        same = [each for each in rest if each[4] == label]
        overlaps = _overlaps(box, same)
        right = bool(same) and bool(overlaps.max() >= 0.5)
        if right:
            rest.remove(same[int(overlaps.argmax())])
        boxes.append([*(round(x, 1) for x in box), label, round(score, 2), right])
    return boxes


def _overlaps(box: list[float], others: list[list[float]]) -> NDArray[np.float64]:
    """The IoU of a box with others."""
    return bbox_overlaps(np.array([box]), np.array([o[:4] for o in others]).reshape(-1, 4))[0]

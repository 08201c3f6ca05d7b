"""Detections of a checkpoint on its validation images, and what COCO's evaluation tells of them."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.runner import Runner

from mmscratch.config import detection_limit
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.errors import InputError, describe
from mmscratch.evaluation.full_coco_metric import hotcoco_module
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.weights import checkpoint, checkpoint_config

ERRORS = {
    'Cls': 'classification',
    'Loc': 'localization',
    'Both': 'both',
    'Dupe': 'duplicate',
    'Bkg': 'background',
    'Miss': 'missed',
}
# COCO's range of areas, in square pixels
ALL_SIZES = [0, 1e10]
MEAN = 'all classes'  # the curve that is the mean of theirs


@dataclass
class Detections:
    """Boxes found in validation images, and those of the ground truth, as an evaluator takes them.

    Attributes:
        classes: names; category k + 1 is class k.
        files: path of each image; image i + 1 is file i.
        truth: a COCO JSON. What its data set ignores (COCO's crowds, VOC's difficult objects) has
            ``iscrowd``.
        rows: N lists of image, x, y, width, height in pixels, score in 0..1, category.
        limit: how many detections of an image count.
    """

    classes: list[str]
    files: list[str]
    truth: dict[str, list[dict]]
    rows: list[list[float]]
    limit: int = 100

    def evaluation(self, least_score: float = 0.0) -> Any:
        """COCO's evaluation (hotcoco's) of the boxes with at least this score, accumulated."""
        hotcoco = hotcoco_module()
        coco = hotcoco.COCO(self.truth)
        rows = np.array(self.rows).reshape(-1, 7)
        found = coco.load_res(rows[rows[:, 5] >= least_score])
        evaluation = hotcoco.COCOeval(coco, found, 'bbox')
        evaluation.params.max_dets = [1, 10, self.limit]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    def precision_recall(self) -> dict[str, dict[str, list[float]]]:
        """Precision at each of COCO's 101 recalls, 0 to 1, by class and by IoU.

        The classes are those with objects, and ``MEAN``, of all of them. The IoUs are ``0.50``,
        ``0.75`` and ``0.50:0.95``, the mean over COCO's ten thresholds. The mean of a curve is AP.
        """
        # IoU thresholds, recalls, classes, area ranges, numbers of detections; -1 without objects
        precision = self.evaluation().eval['precision'][..., 0, -1]
        has_objects = (precision > -1).all(axis=(0, 1))
        parts = {name: precision[..., k] for k, name in enumerate(self.classes) if has_objects[k]}
        if parts:
            parts = {MEAN: precision[..., has_objects].mean(axis=-1)} | parts
        return {
            name: {'0.50': part[0], '0.75': part[5], '0.50:0.95': part.mean(axis=0)}
            for name, part in parts.items()
        }

    def errors(self) -> dict[str, tuple[int, float]]:
        """How many errors of each type there are, and how much AP50 rises (0..1) without them.

        The types, ``ERRORS``, are those of TIDE (Bolya et al., A General Toolbox for Identifying
        Object Detection Errors, arXiv 2008.08115, section 2). hotcoco computes them. A false
        positive is

        - classification: IoU of at least 0.5 with an object of another class
        - localization: IoU of 0.1 to 0.5 with an object of its class
        - both: IoU of 0.1 to 0.5 with an object of another class
        - duplicate: IoU of at least 0.5 with an object of its class, which a higher score found
        - background: IoU of less than 0.1 with every object

        and missed is an object that none of the errors above would find if it were corrected.
        """
        found = self._without_ignored().evaluation().tide_errors(pos_thr=0.5, bg_thr=0.1)
        return {
            word: (found['counts'][kind], found['delta_ap'][kind]) for kind, word in ERRORS.items()
        }

    def _without_ignored(self) -> 'Detections':
        """Without crowds and the detections that AP50 does not count because of them.

        To TIDE crowds are no objects, and hotcoco measures localization by them, too.
        """
        annotations = [each for each in self.truth['annotations'] if not each['iscrowd']]
        if len(annotations) == len(self.truth['annotations']):
            return self
        ignored = {
            number
            for image in self.evaluation().eval_imgs
            if image and image['aRng'] == ALL_SIZES
            for number, is_ignored in zip(image['dtIds'], image['dtIgnore'][0])
            if is_ignored
        }
        rows = [row for number, row in enumerate(self.rows, 1) if number not in ignored]
        return replace(self, truth=self.truth | dict(annotations=annotations), rows=rows)

    def ranking(self, score: float) -> list[tuple[int, dict[str, float]]]:
        """Images by F1 at IoU 0.5 of the detections with at least this score, the best first.

        Of equal F1, the one with more objects and detections is more extreme. Images that have
        neither are left out.

        Returns:
            indices of ``files``, each with its ``tp``, ``fp``, ``fn`` and ``f1`` (0..1).
        """
        summary = self.evaluation(score).image_diagnostics(iou_thr=0.5)['img_summary']
        counted = [
            (number - 1, row)
            for number, row in summary.items()
            if row['tp'] + row['fp'] + row['fn'] > 0
        ]
        return sorted(counted, key=lambda each: (-each[1]['f1'], _extremeness(each[1]), each[0]))


def _extremeness(row: Mapping[str, float]) -> float:
    """Sorts equal F1: many objects first among the good ones, last among the bad ones."""
    boxes = row['tp'] + row['fp'] + row['fn']
    return -boxes if row['f1'] >= 0.5 else boxes


def detect(file: Path, device: str | None = None) -> Detections:
    """Run a checkpoint on the validation images that its config names.

    The config is read as data, and never executed.

    Raises:
        InputError: the checkpoint is no detector's, or cannot be used; the data are not there.
    """
    cfg = checkpoint_config.config_of(checkpoint.load(file), str(file))
    loader, model = cfg.get('val_dataloader'), cfg.get('model')
    if not loader or not model:
        raise InputError(f'{file}: its config has no val_dataloader, so no images to detect in')
    parts = dict(loader=loader, model=model)
    checkpoint_config.refuse_foreign_types(parts, str(file), buildable=True)
    fit_to_runner(cfg)
    with checkpoint_config.no_imports():
        if not issubclass(MODELS.get(model.type), BaseDetector):
            raise InputError(f'{file}: its {model.type} is no detector')
        try:
            batches = Runner.build_dataloader(loader, seed=0)
            dataset: Any = batches.dataset
            infos = [dataset.get_data_info(i) for i in range(len(dataset))]
            infos.sort(key=itemgetter('img_id'))  # evaluators rank equal scores in this order
            rows = list(_rows(file, batches, [info['img_id'] for info in infos], device))
        except FileNotFoundError as error:
            text = f'{file}: its validation data are not there ({describe(error)})'
            raise InputError(text) from None
    classes = list(dataset.metainfo['classes'])
    # a page may be made in another folder
    files = [str(Path(info['img_path']).resolve()) for info in infos]
    limit = detection_limit.box_limit(cfg, 'val')
    return Detections(classes, files, _truth(infos, classes), rows, limit)


def _rows(file: Path, batches: Iterable[Any], ids: list, device: str | None) -> Iterator[list]:
    numbers = {image: number for number, image in enumerate(ids, 1)}
    inferencer = Inferencer(weights=str(file), device=device, show_progress=False, palette='none')
    for batch in ProgressBar(batches, f'{file.parent.name}: detecting, batches'):
        with torch.no_grad():
            samples = inferencer.model.val_step(batch)
        for sample in samples:
            found = sample.pred_instances.cpu()
            if len(found) and 'masks' in found and not found.bboxes.any():
                raise InputError(f'{file}: its detector finds masks alone, and no boxes')
            for (x1, y1, x2, y2), score, label in zip(
                found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist()
            ):
                yield [numbers[sample.img_id], x1, y1, x2 - x1, y2 - y1, score, label + 1]


def _truth(infos: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, list[dict]]:
    objects = [(number, each) for number, info in enumerate(infos, 1) for each in info['instances']]
    annotations = []
    for number, (image, each) in enumerate(objects, 1):
        x1, y1, x2, y2 = map(float, each['bbox'])
        annotations.append(
            dict(
                id=number,
                image_id=image,
                category_id=each['bbox_label'] + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=int(each['ignore_flag']),
            )
        )
    return dict(
        images=[
            dict(id=number, width=info['width'], height=info['height'])
            for number, info in enumerate(infos, 1)
        ],
        annotations=annotations,
        categories=[dict(id=k, name=name) for k, name in enumerate(classes, 1)],
    )


def cached(file: Path, work_dir: Path) -> Detections:
    """The checkpoint's detections, from ``work_dir`` if they were stored there before.

    Their file is named after the SHA-256 of the checkpoint. Delete it if the data have changed.
    """
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    store = work_dir / f'detections_{sha256[:16]}.json'
    with contextlib.suppress(OSError, ValueError, TypeError):  # none, or a broken one
        return Detections(**json.loads(store.read_text()))
    found = detect(file)
    # a folder may be somebody else's, and a disk full
    with contextlib.suppress(OSError):
        whole_file.write(store, json.dumps(asdict(found)))
    return found

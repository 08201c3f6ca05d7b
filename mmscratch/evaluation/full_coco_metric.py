"""COCO's own twelve numbers, unrounded, and per-class AP, for boxes and for masks."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from faster_coco_eval import COCO, COCOeval_faster
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

# In the order of COCOeval.summarize() with its default 1, 10 and 100 detections an image.
COCO_NUMBERS = (
    'mAP',
    'mAP_50',
    'mAP_75',
    'mAP_s',
    'mAP_m',
    'mAP_l',
    'AR@1',
    'AR@10',
    'AR@100',
    'AR_s@100',
    'AR_m@100',
    'AR_l@100',
)


@METRICS.register_module()
class FullCocoMetric(CocoMetric):
    """``CocoMetric`` that reports what the COCO server reports.

    MMDetection's class rounds to three digits, evaluates recall at 100, 300 and 1000 detections
    where COCO means 1, 10 and 100, gives box and mask AP of a class the same key, and yields no
    number at all for a detector that finds nothing, which a young detector from random
    initialization does.

    Returned keys, each in 0..1, or -1 where the ground truth holds no such object:
    ``{bbox,segm}_{COCO_NUMBERS}`` and ``{bbox,segm}_AP/<class name>``.

    The matching is faster-coco-eval's, tested to be equal to pycocotools'.
    """

    def compute_metrics(self, results: Sequence[tuple[dict, dict]]) -> dict[str, float]:
        """``results``: (ground truth, prediction) of each image, as ``process`` stores them."""
        predictions = [prediction for _, prediction in results]
        self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json(predictions, self.outfile_prefix or f'{folder}/results')
            if self.format_only:
                return {}
            image_ids = [prediction['img_id'] for prediction in predictions]
            numbers: dict[str, float] = {}
            for metric in self.metrics:
                detections = json.loads(Path(files[metric]).read_text())
                numbers |= self._evaluate(metric, detections, image_ids)
        return numbers

    def _evaluate(
        self, metric: str, detections: list[dict], image_ids: list[int]
    ) -> dict[str, float]:
        if metric == 'segm':
            for detection in detections:
                # with a box, COCO would file the mask under the area of its box
                detection.pop('bbox')
        truth = COCO(self._coco_api.dataset)
        evaluation = COCOeval_faster(truth, truth.loadRes(detections), metric)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        numbers = {
            f'{metric}_{name}': float(number)
            for name, number in zip(COCO_NUMBERS, evaluation.all_stats)
        }
        # (IoU thresholds, recall, classes, area ranges, detections an image): all areas, 100
        # detections
        precision = evaluation.eval['precision'][:, :, :, 0, -1]
        for k, name in enumerate(self.dataset_meta['classes']):
            valid = precision[:, :, k][precision[:, :, k] > -1]
            numbers[f'{metric}_AP/{name}'] = float(valid.mean()) if valid.size else -1.0
        return numbers

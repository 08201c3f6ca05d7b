"""COCO's keypoint evaluation: AP and AR by object keypoint similarity (OKS)."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.fileio import dump

from mmscratch.config.detection_limit import KEYPOINT_DETECTIONS, PROPOSAL_NUMS
from mmscratch.data.coco_keypoint_dataset import PIXEL_CENTRE
from mmscratch.evaluation.full_coco_metric import BOX, FullCocoMetric, _parts
from mmscratch.evaluation.renumbered_truth import RenumberedTruth

# In the order of COCOeval.summarize() for keypoints. COCO annotates none on small objects.
KEYPOINT_NUMBERS = tuple(
    f'{number}{part}' for number in ('mAP', 'AR') for part in ('', '_50', '_75', '_m', '_l')
)


@METRICS.register_module()
class CocoKeypointMetric(FullCocoMetric):
    """``FullCocoMetric`` that knows the metric 'keypoints' too.

    A detection is scored by its box's score (Detectron: ``KRCNN.KEYPOINT_CONFIDENCE: bbox`` in
    configs/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml at 04155a01; no second NMS by OKS,
    ``KRCNN.NMS_OKS`` False). OKS takes the sigmas of the data set's ``keypoint_sigmas``. Predicted
    keypoints are continuous coordinates; COCO's are indices of pixels, half a pixel less.

    It also returns ``keypoints_{KEYPOINT_NUMBERS}`` and ``keypoints_AP/<class name>``, each in
    0..1, or -1 if no object of the ground truth has a labelled keypoint.

    Args:
        metric: of 'bbox', 'segm' and 'keypoints', one or a list; keypoints are reported first.
        proposal_nums: that of ``FullCocoMetric``; its last number counts for keypoints too. The
            default is COCO's: 1, 10 and 100 for boxes and masks, 20 for keypoints.
        kwargs: those of ``FullCocoMetric``.

    Example:
        >>> val_evaluator = dict(
        ...     _delete_=True, type='CocoKeypointMetric', metric=['bbox', 'keypoints'],
        ...     ann_file='data/coco/annotations/person_keypoints_val2017.json')
    """

    known_metrics = (*FullCocoMetric.known_metrics, 'keypoints')

    def __init__(
        self,
        *,
        metric: str | Sequence[str] = ('bbox', 'keypoints'),
        proposal_nums: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            metric=metric,
            proposal_nums=PROPOSAL_NUMS if proposal_nums is None else proposal_nums,
            **kwargs,
        )
        # CheckpointHook's save_best='auto' takes the first number
        self.metrics.sort(key=lambda name: name != 'keypoints')
        limit = KEYPOINT_DETECTIONS if proposal_nums is None else proposal_nums[-1]
        self._counted['keypoints'] = (KEYPOINT_NUMBERS, [limit])

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch."""
        done = len(self.results)
        super().process(data_batch, data_samples)
        for (_, result), sample in zip(self.results[done:], data_samples):
            if 'keypoints' in sample['pred_instances']:
                result['keypoints'] = sample['pred_instances']['keypoints'].cpu().numpy()

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write the result files, that of the keypoints as the COCO server takes it."""
        files = super().results2json(results, outfile_prefix)
        if 'keypoints' not in self.metrics:
            return files
        rows = [
            dict(row, image_id=result['img_id'], category_id=self.cat_ids[label])
            for result in results
            for label, row in zip(result['labels'], _rows(result))
        ]
        files['keypoints'] = f'{outfile_prefix}.keypoints.json'
        dump(rows, files['keypoints'])
        return files

    def _ground_truth(self, metric: str, truth: RenumberedTruth) -> dict[str, list[dict]]:
        if metric != 'keypoints':
            return super()._ground_truth(metric, truth)
        data = truth.ground_truth(*BOX, 'keypoints', 'num_keypoints')
        none = [0] * 3 * len(self.dataset_meta['keypoint_sigmas'])
        for row in data['annotations']:
            # COCO writes these for every object, other tools do not
            given = row.get('keypoints')
            row['keypoints'] = given or none
            if not (given and isinstance(row.get('num_keypoints'), int)):
                row['num_keypoints'] = sum(v > 0 for v in row['keypoints'][2::3])
        return data

    def _detections(
        self, metric: str, coco: Any, truth: RenumberedTruth, predictions: Sequence[dict]
    ) -> Any:
        if metric != 'keypoints':
            return super()._detections(metric, coco, truth, predictions)
        return coco.load_res(
            [
                dict(row, image_id=truth.image_numbers[found['img_id']], category_id=label + 1)
                for found in predictions
                for label, row in zip(found['labels'].tolist(), _rows(found))
            ]
        )

    def _averaged(
        self, metric: str, precision: np.ndarray, recall: np.ndarray
    ) -> Iterator[np.ndarray]:
        if metric != 'keypoints':
            return super()._averaged(metric, precision, recall)
        return chain(_parts(precision), _parts(recall))


def _rows(prediction: dict) -> Iterator[dict]:
    """Scores and keypoints of an image's detections, as COCO has them in results."""
    points = prediction['keypoints'].copy()
    points[..., :2] -= PIXEL_CENTRE
    points[..., 2] = 1  # COCO reads no visibility from results
    for score, keypoints in zip(
        prediction['scores'].tolist(), points.reshape(len(points), -1).tolist()
    ):
        yield dict(keypoints=keypoints, score=score)

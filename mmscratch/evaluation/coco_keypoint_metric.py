"""COCO's keypoint evaluation: AP and AR by object keypoint similarity (OKS)."""

from collections.abc import Sequence
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster
from mmdet.registry import METRICS
from mmengine.fileio import dump

from mmscratch.datasets.coco_keypoint_dataset import PIXEL_CENTRE
from mmscratch.evaluation.full_coco_metric import FullCocoMetric

# In the order of COCOeval.summarize() for keypoints: 20 detections an image; no small objects,
# since COCO annotates no keypoints on them.
KEYPOINT_NUMBERS = (
    'mAP',
    'mAP_50',
    'mAP_75',
    'mAP_m',
    'mAP_l',
    'AR',
    'AR_50',
    'AR_75',
    'AR_m',
    'AR_l',
)


@METRICS.register_module()
class CocoKeypointMetric(FullCocoMetric):
    """``FullCocoMetric`` that knows the metric 'keypoints' too.

    A detection is scored by its box's score (Detectron: ``KRCNN.KEYPOINT_CONFIDENCE: bbox`` in
    configs/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml at 04155a01; no second NMS by OKS,
    ``KRCNN.NMS_OKS`` False). OKS takes the sigmas of the data set's ``keypoint_sigmas``. Predicted
    keypoints are continuous coordinates; COCO's are indices of pixels, half a pixel less.

    Returned besides: ``keypoints_{KEYPOINT_NUMBERS}`` and ``keypoints_AP/<class name>``, each in
    0..1, or -1 where no object of the ground truth has a labelled keypoint.

    Args:
        metric: of 'bbox', 'segm' and 'keypoints', one or a list.
        kwargs: those of ``CocoMetric``.
    """

    def __init__(
        self, *, metric: str | Sequence[str] = ('bbox', 'keypoints'), **kwargs: Any
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else list(metric)
        super().__init__(metric=[name for name in metrics if name != 'keypoints'], **kwargs)
        self.metrics = metrics

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
        rows = []
        for result in results:
            points = result['keypoints'].copy()
            points[..., :2] -= PIXEL_CENTRE
            points[..., 2] = 1  # COCO reads no visibility from results
            for label, score, keypoints in zip(result['labels'], result['scores'], points):
                rows.append(
                    dict(
                        image_id=result['img_id'],
                        category_id=self.cat_ids[label],
                        keypoints=keypoints.ravel().tolist(),
                        score=float(score),
                    )
                )
        files['keypoints'] = f'{outfile_prefix}.keypoints.json'
        dump(rows, files['keypoints'])
        return files

    def _evaluate(
        self, metric: str, detections: list[dict], image_ids: list[int]
    ) -> dict[str, float]:
        if metric != 'keypoints':
            return super()._evaluate(metric, detections, image_ids)
        sigmas = self.dataset_meta['keypoint_sigmas']
        for row in self._coco_api.dataset['annotations']:
            # what COCO writes for every object, and other tools do not
            row.setdefault('keypoints', [0] * 3 * len(sigmas))
            row.setdefault('num_keypoints', sum(v > 0 for v in row['keypoints'][2::3]))
        truth = COCO(self._coco_api.dataset)
        evaluation = COCOeval_faster(
            truth, truth.loadRes(detections), metric, kpt_oks_sigmas=sigmas
        )
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = image_ids
        evaluation.run()
        names = (f'keypoints_{name}' for name in KEYPOINT_NUMBERS)
        numbers = dict(zip(names, map(float, evaluation.all_stats)))
        # (OKS thresholds, recall, classes, area ranges, 20 detections an image): all areas
        precision = evaluation.eval['precision'][:, :, :, 0, 0]
        for k, name in enumerate(self.dataset_meta['classes']):
            valid = precision[:, :, k][precision[:, :, k] > -1]
            numbers[f'keypoints_AP/{name}'] = float(valid.mean()) if valid.size else -1.0
        return numbers

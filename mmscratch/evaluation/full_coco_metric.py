"""COCO's own twelve numbers, unrounded, and per-class AP, for boxes and for masks."""

from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

from mmscratch.config.detection_limit import PROPOSAL_NUMS
from mmscratch.data.mask_table import whole_polygons
from mmscratch.errors import InputError
from mmscratch.evaluation.renumbered_truth import RenumberedTruth

# what matching needs of an annotation
BOX = ('bbox', 'area', 'iscrowd')


def coco_numbers(proposal_nums: Sequence[int] = PROPOSAL_NUMS) -> tuple[str, ...]:
    """Names of the twelve numbers, in the order of COCOeval.summarize()."""
    recalls = [f'AR@{count}' for count in proposal_nums]
    recalls += [f'AR_{size}@{proposal_nums[-1]}' for size in 'sml']
    return ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', *recalls)


@METRICS.register_module()
class FullCocoMetric(CocoMetric):
    """``CocoMetric`` that reports what the COCO server reports.

    MMDetection's class

    - rounds to three digits
    - evaluates recall at 100, 300 and 1000 detections; COCO's numbers are 1, 10 and 100
    - gives box and mask AP of a class the same key
    - names the wrong class if category ids do not ascend in the file
    - yields no number for a detector that finds nothing, as one does soon after random
      initialization

    Returned keys, each in 0..1, or -1 if the ground truth has no such object:
    ``{bbox,segm}_{coco_numbers(proposal_nums)}`` and ``{bbox,segm}_AP/<class name>``.

    hotcoco does the matching; tests compare it with pycocotools. Ids of images, annotations and
    categories may be any whole numbers: :class:`RenumberedTruth` gives the evaluator others. The
    result files (``outfile_prefix``) have the user's ids.

    Args:
        ann_file: A COCO JSON.
        metric: 'bbox', 'segm' or a list of them.
        proposal_nums: Three ascending numbers of detections of a class in an image. AR is reported
            for each. AP, and AR by size, are those of the last.
        classwise: Whether to report the AP of each class.
        format_only, outfile_prefix, backend_args, collect_device, prefix: those of ``CocoMetric``.

    Raises:
        InputError: for another metric, or other numbers, or without hotcoco; in evaluation, for a
            class or an image that ``ann_file`` lacks.

    Example:
        >>> val_evaluator = dict(
        ...     _delete_=True, type='FullCocoMetric', metric=['bbox', 'segm'],
        ...     ann_file='data/coco/annotations/instances_val2017.json')
    """

    known_metrics: tuple[str, ...] = ('bbox', 'segm')

    def __init__(
        self,
        *,
        ann_file: str,
        metric: str | Sequence[str] = 'bbox',
        proposal_nums: Sequence[int] = PROPOSAL_NUMS,
        classwise: bool = True,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else list(metric)
        name = type(self).__name__
        for unknown in set(metrics) - set(self.known_metrics):
            raise InputError(f'{name}: metric={unknown!r}: give of {", ".join(self.known_metrics)}')
        if not _ascend(proposal_nums):
            raise InputError(
                f'{name}: proposal_nums={proposal_nums!r}: give three ascending numbers of '
                'detections, such as [1, 10, 300]'
            )
        hotcoco_module()
        super().__init__(
            ann_file=ann_file,
            metric=[],
            classwise=classwise,
            proposal_nums=proposal_nums,
            format_only=format_only,
            outfile_prefix=outfile_prefix,
            backend_args=backend_args,
            collect_device=collect_device,
            prefix=prefix,
        )
        self.ann_file = ann_file
        self.metrics = metrics
        # by metric: the names of what COCOeval.summarize() yields, and COCOeval's maxDets
        numbers = coco_numbers(proposal_nums)
        self._counted = dict.fromkeys(self.known_metrics, (numbers, proposal_nums))

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch, masks as RLE."""
        samples = []
        for sample in data_samples:
            found = dict(sample['pred_instances'])
            if 'masks' in found:
                masks = found['masks']
                if isinstance(masks, torch.Tensor):
                    # a third of the time of pycocotools
                    masks = map(hotcoco_module().mask.encode, masks.detach().cpu().numpy())
                # an array, because BaseMetric.evaluate looks into lists and dicts for tensors
                found['masks'] = np.array(list(masks), dtype=object)
            samples.append(dict(sample, pred_instances=found))
        super().process(data_batch, samples)

    def metric_names(self) -> list[str]:
        """The keys of what ``evaluate`` returns, in its order; ``dataset_meta`` has to be set."""
        if self.format_only:
            return []
        return [
            f'{self.prefix}/{metric}_{name}'
            for metric in self.metrics
            for name in (*self._counted[metric][0], *(f'AP/{name}' for name in self._classes()))
        ]

    def compute_metrics(self, results: Sequence[tuple[dict, dict]]) -> dict[str, float]:
        """``results``: (ground truth, prediction) of each image, as ``process`` stores them."""
        predictions = [prediction for _, prediction in results]
        image_ids = [prediction['img_id'] for prediction in predictions]
        self.cat_ids = self._category_ids()
        for unknown in set(image_ids) - set(self._coco_api.imgs):
            raise InputError(
                f'{self.ann_file}: has no image {unknown}, which was evaluated; give the evaluator '
                'the ann_file of its data set'
            )
        if self.outfile_prefix:
            self.results2json(predictions, self.outfile_prefix)
        if self.format_only:
            return {}
        truth = RenumberedTruth(self._coco_api.dataset, image_ids, self.cat_ids)
        numbers: dict[str, float] = {}
        for metric in self.metrics:
            numbers |= self._evaluate(metric, truth, predictions)
        return numbers

    def _category_ids(self) -> list[int]:
        """The file's ids, in the order of the classes."""
        ids = {row['name']: row['id'] for row in self._coco_api.dataset['categories']}
        missing = [name for name in self.dataset_meta['classes'] if name not in ids]
        if missing:
            raise InputError(
                f'{self.ann_file}: lacks {len(missing)} of the classes, the first is '
                f"'{missing[0]}'; name the classes in metainfo as the categories of the file"
            )
        return [ids[name] for name in self.dataset_meta['classes']]

    def _classes(self) -> Sequence[str]:
        return self.dataset_meta['classes'] if self.classwise else ()

    def _evaluate(
        self, metric: str, truth: RenumberedTruth, predictions: Sequence[dict]
    ) -> dict[str, float]:
        names, limits = self._counted[metric]
        coco = hotcoco_module().COCO(self._ground_truth(metric, truth))
        found = self._detections(metric, coco, truth, predictions)
        evaluation = hotcoco_module().COCOeval(coco, found, metric)
        evaluation.params.max_dets = list(limits)
        if metric == 'keypoints':
            evaluation.params.kpt_oks_sigmas = list(self.dataset_meta['keypoint_sigmas'])
        evaluation.evaluate()
        evaluation.accumulate()
        # precision (IoU or OKS thresholds, recalls, classes, area ranges, numbers of detections),
        # recall the same without recalls
        precision, recall = evaluation.eval['precision'], evaluation.eval['recall']
        numbers = dict(zip(names, map(_mean, self._averaged(metric, precision, recall))))
        for k, name in enumerate(self._classes()):
            numbers[f'AP/{name}'] = _mean(precision[:, :, k, 0, -1])
        return {f'{metric}_{name}': number for name, number in numbers.items()}

    def _ground_truth(self, metric: str, truth: RenumberedTruth) -> dict[str, list[dict]]:
        if metric != 'segm':
            return truth.ground_truth(*BOX)
        content = truth.ground_truth(*BOX, 'segmentation')
        content['annotations'] = list(_with_masks(content['annotations']))
        return content

    def _detections(
        self, metric: str, coco: Any, truth: RenumberedTruth, predictions: Sequence[dict]
    ) -> Any:
        """The predictions, as hotcoco's ``COCO`` loads them."""
        numbers = [truth.image_numbers[prediction['img_id']] for prediction in predictions]
        boxes, scores, labels = (
            np.concatenate([prediction[key] for prediction in predictions])
            for key in ('bboxes', 'scores', 'labels')
        )
        rows = np.empty((len(labels), 7))  # image, x, y, width, height, score, category
        rows[:, 0] = np.repeat(numbers, [len(prediction['labels']) for prediction in predictions])
        rows[:, 1:5] = boxes
        rows[:, 3:5] -= rows[:, 1:3]
        rows[:, 5] = scores
        rows[:, 6] = labels + 1
        if metric != 'segm':
            return coco.load_res(rows)
        if 'mask_scores' in predictions[0]:
            rows[:, 5] = np.concatenate([prediction['mask_scores'] for prediction in predictions])
        masks = [mask for prediction in predictions for mask in prediction['masks']]
        found = coco.load_res(rows, segmentation=masks)
        # COCO files a mask under its own area, not under that of its box
        found.update_anns(ids=range(1, len(rows) + 1), area=hotcoco_module().mask.area(masks))
        return found

    def _averaged(
        self, metric: str, precision: np.ndarray, recall: np.ndarray
    ) -> Iterator[np.ndarray]:
        """What is averaged to each of the numbers, in their order."""
        yield from _parts(precision)
        yield from (recall[:, :, 0, limit] for limit in range(recall.shape[-1]))
        yield from list(_parts(recall))[3:]


def hotcoco_module() -> ModuleType:
    """The evaluator. Whoever infers, or evaluates VOC, does without."""
    try:
        import hotcoco
    except ImportError as error:
        raise InputError(
            f"hotcoco computes COCO's numbers and cannot be imported ({error}); pip install "
            'hotcoco==1.3.0 (wheels for Linux and macOS, and for Windows on x86; elsewhere install '
            'Rust first, https://rustup.rs, with which pip compiles it)'
        ) from None
    return hotcoco


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """Precision or recall at all thresholds, at 0.5, at 0.75; then of each size of objects.

    ``values``: (thresholds, ..., area ranges, numbers of detections). The last number counts.
    """
    yield from (part[..., 0, -1] for part in (values, values[0], values[5]))
    yield from (values[..., size, -1] for size in range(1, values.shape[-2]))


def _mean(values: np.ndarray) -> float:
    """Of all but the -1 of classes without objects; -1 if there is no other."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


def _with_masks(rows: Iterable[dict]) -> Iterator[dict]:
    """The objects that have a mask, without its polygons of fewer than 3 points.

    Training leaves these out too; the evaluator would count them as missed.
    """
    for row in rows:
        segmentation = row.get('segmentation')
        if isinstance(segmentation, list):
            row['segmentation'] = segmentation = whole_polygons(segmentation)
        if segmentation:
            yield row


def _ascend(numbers: Sequence[int]) -> bool:
    """Whether they are three whole numbers, each larger than the one before, the first from 1."""
    return (
        isinstance(numbers, list | tuple)
        and [type(number) for number in numbers] == [int] * 3
        and 0 < numbers[0] < numbers[1] < numbers[2]
    )

"""Test-time augmentation of boxes and masks; MMDetection 3.3.0 has it for boxes alone."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from mmcv.ops import batched_nms
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, bbox_flip, scale_boxes
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmscratch.errors import InputError
from mmscratch.models.box_voting import vote_boxes
from mmscratch.models.single_mask_cascade_roi_head import SingleMaskCascadeRoIHead

# The RoI heads whose prediction is repeated here, view by view.
ROI_HEADS = (StandardRoIHead, CascadeRoIHead, SingleMaskCascadeRoIHead)
# Dimensions of masks [N, classes, height, width] along which a flip mirrors them.
MIRRORED = {'horizontal': (3,), 'vertical': (2,), 'diagonal': (2, 3)}


@dataclass(frozen=True)
class View:
    """A batch under one augmentation: detections before merging, and features for mask heads."""

    samples: list[DetDataSample]
    features: tuple[Tensor, ...]


@MODELS.register_module()
class DetectronTTAModel(BaseTTAModel):
    """Merge the detections of a two-stage detector over scales and flips, as Detectron does.

    That is ``im_detect_bbox_aug``, ``box_results_with_nms_and_limit`` and ``im_detect_mask_aug`` of
    ``detectron/core/test.py`` with the heuristics UNION for boxes and SOFT_AVG for masks, which the
    paper's bars "w/ test aug" (figure 5, table 3) use:

    1. In every view the detector yields, for each proposal, class scores and a box a class.
    2. All of these above the score threshold, mapped back to the image, go through one NMS.
    3. What is left moves by box voting; the best ``max_per_img`` remain.
    4. In every view the mask branch looks at these boxes, mapped into the view. Its probabilities
       are mirrored back, averaged, pasted into the image, and made binary last.

    ``score_thr``, ``nms``, ``max_per_img`` and ``mask_thr_binary`` are the detector's own
    (``test_cfg.rcnn``). Boxes have continuous coordinates, without Detectron's "+ 1".

    The mask branch runs after all views have been seen. The features that it reads are kept until
    then: 1.4 GB for an image of 640 x 480 pixels in the 18 views of
    ``_base_/datasets/coco_instance.py`` (FPN, 256 channels, float32). Detectron keeps none and runs
    every backbone twice. Detectors without masks keep nothing.

    Args:
        module: the detector: Faster, Mask or Cascade R-CNN, with one of ``ROI_HEADS``.
        vote_iou: IoU from which boxes vote (``BBOX_VOTE.VOTE_TH``); None: no voting.
        data_preprocessor: as for ``BaseTTAModel``.

    Raises:
        InputError: another detector; a ``vote_iou`` that is no IoU.

    Example:
        >>> tta_model = dict(type='DetectronTTAModel', vote_iou=0.9)
    """

    def __init__(
        self,
        module: dict | nn.Module,
        vote_iou: float | None = 0.9,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        refuse_other_detectors(self.module)
        if vote_iou is not None and not 0 < vote_iou <= 1:
            raise InputError(f'DetectronTTAModel: vote_iou={vote_iou}: give one in (0, 1], or None')
        self.vote_iou = vote_iou
        self._announced = False

    def test_step(self, data: dict[str, Sequence]) -> list[DetDataSample]:
        """Detections of a batch, in the coordinates of the images as they are on disk.

        Args:
            data: ``inputs`` and ``data_samples`` as ``TestTimeAug`` leaves them: for each view the
                list of the batch's images. ``PackDetInputs`` has to pass on ``flip``,
                ``flip_direction``, ``ori_shape``, ``img_shape`` and ``scale_factor``.

        Returns:
            The samples of the first view, with ``pred_instances``: ``bboxes`` [n, 4], ``scores``
            [n], ``labels`` [n], and with a mask branch ``masks`` [n, height, width], bool.

        Raises:
            InputError: a sample does not say whether it is flipped.
        """
        views = [
            self._detect(dict(inputs=inputs, data_samples=samples))
            for inputs, samples in zip(data['inputs'], data['data_samples'])
        ]
        if not self._announced:
            print_log(f'{len(views)} views merged by {type(self).__name__}', logger='current')
            self._announced = True
        samples = self.merge_preds(list(zip(*(view.samples for view in views))))
        if self.module.roi_head.with_mask:
            self._add_masks(samples, views)
        return samples

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[DetDataSample]]
    ) -> list[DetDataSample]:
        """Merge the boxes of each image's views: NMS, voting, limit.

        Args:
            data_samples_list: for each image, the samples of its views, whose ``pred_instances``
                are detections in the image's coordinates, before NMS.
        """
        cfg = self.module.roi_head.test_cfg
        merged = []
        for samples in data_samples_list:
            every = InstanceData.cat([sample.pred_instances for sample in samples])
            best = self._suppress(every, cfg.nms) if len(every) else every
            samples[0].pred_instances = best[: cfg.max_per_img]
            merged.append(samples[0])
        return merged

    def _suppress(self, every: InstanceData, nms: dict) -> InstanceData:
        detections, kept = batched_nms(every.bboxes, every.scores, every.labels, nms)
        best = InstanceData(
            bboxes=detections[:, :4], scores=detections[:, 4], labels=every.labels[kept]
        )
        if self.vote_iou is None:
            return best
        for label in best.labels.unique():
            mine, voters = best.labels == label, every[every.labels == label]
            best.bboxes[mine] = vote_boxes(
                best.bboxes[mine], voters.bboxes, voters.scores, self.vote_iou
            )
        return best

    def _detect(self, batch: dict) -> View:
        """Run one view as ``TwoStageDetector.predict`` does, up to where NMS would follow."""
        detector = self.module
        batch = detector.data_preprocessor(batch, False)
        samples = batch['data_samples']
        features = detector.extract_feat(batch['inputs'])
        proposals = detector.rpn_head.predict(features, samples, rescale=False)
        cfg = detector.roi_head.test_cfg
        found = detector.roi_head.predict_bbox(
            features,
            [sample.metainfo for sample in samples],
            proposals,
            # all above the score threshold
            rcnn_test_cfg=ConfigDict(score_thr=cfg.score_thr, nms=None, max_per_img=-1),
            rescale=True,
        )
        for sample, candidates in zip(samples, found):
            candidates.bboxes = flip_boxes(candidates.bboxes, sample.metainfo)
            sample.pred_instances = candidates
        levels = [extractor.num_inputs for extractor, _ in mask_branches(detector.roi_head)]
        return View(samples, tuple(features[: max(levels, default=0)]))

    def _add_masks(self, samples: list[DetDataSample], views: list[View]) -> None:
        """Put the masks of all views' mean probability into ``pred_instances``."""
        roi_head = self.module.roi_head
        found = [sample.pred_instances for sample in samples]
        of_views = (self._mask_probabilities(view, found) for view in views)
        mean = functools.reduce(torch.add, of_views) / len(views)
        *_, (_, mask_head) = mask_branches(roi_head)
        mask_head.predict_by_feat(
            mean.split([len(instances) for instances in found]),
            found,
            # to the image as it is on disk, where the boxes are already
            [dict(ori_shape=sample.ori_shape, scale_factor=(1.0, 1.0)) for sample in samples],
            rcnn_test_cfg=roi_head.test_cfg,
            rescale=False,
            activate_map=True,
        )

    def _mask_probabilities(self, view: View, found: list[InstanceData]) -> Tensor:
        """[boxes of the batch, classes, height, width]: the view's masks of the final boxes."""
        roi_head = self.module.roi_head
        metas = [sample.metainfo for sample in view.samples]
        rois = bbox2roi(
            [
                scale_boxes(flip_boxes(instances.bboxes, meta), meta['scale_factor'])
                for instances, meta in zip(found, metas)
            ]
        )
        stages = []
        for extractor, head in mask_branches(roi_head):
            crops = extractor(view.features[: extractor.num_inputs], rois)
            if roi_head.with_shared_head:
                crops = roi_head.shared_head(crops)
            stages.append(head(crops).float().sigmoid())
        masks = (sum(stages) / len(stages)).split([len(instances) for instances in found])
        return torch.cat(
            [
                mask.flip(MIRRORED[meta['flip_direction']]) if meta['flip'] else mask
                for mask, meta in zip(masks, metas)
            ]
        )


def flip_boxes(boxes: Tensor, meta: dict) -> Tensor:
    """Mirror boxes [n, 4 x k] in the image's own coordinates, if its view is flipped.

    Raises:
        InputError: ``meta`` does not say whether the view is flipped.
    """
    if 'flip' not in meta:
        raise InputError(
            "tta_pipeline: the samples have no 'flip': give TestTimeAug a RandomFlip (prob=0.0 for "
            "none), and PackDetInputs 'flip' and 'flip_direction' among its meta_keys"
        )
    return bbox_flip(boxes, meta['ori_shape'], meta['flip_direction']) if meta['flip'] else boxes


def mask_branches(roi_head: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The pairs of RoI extractor and mask head: none, one, or one for each stage of a cascade."""
    if not roi_head.with_mask:
        return
    extractor, head = roi_head.mask_roi_extractor, roi_head.mask_head
    if isinstance(head, nn.ModuleList):
        yield from zip(extractor, head)
    else:
        yield extractor, head


def refuse_other_detectors(detector: nn.Module) -> None:
    """Raise InputError unless the detector predicts by an RPN and one of ``ROI_HEADS``."""
    is_two_stage = getattr(type(detector), 'predict', None) is TwoStageDetector.predict
    if not (is_two_stage and detector.with_rpn and type(detector.roi_head) in ROI_HEADS):
        raise InputError(
            f'DetectronTTAModel: {type(detector).__name__} with '
            f'{type(getattr(detector, "roi_head", None)).__name__} does not predict as a Faster, '
            'Mask or Cascade R-CNN; test without --tta, or give the config a tta_model that fits'
        )

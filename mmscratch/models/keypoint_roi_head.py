"""RoI head with a keypoint branch."""

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor
from torchvision.models.detection.roi_heads import keypoints_to_heatmap

from mmscratch.errors import InputError


@MODELS.register_module()
class KeypointRoIHead(StandardRoIHead):
    """``StandardRoIHead`` with a keypoint head beside box head and, if configured, mask head.

    Any two-stage detector of MMDetection takes it as ``roi_head``, such as FasterRCNN (without
    masks) or MaskRCNN. Training needs ``gt_instances.keypoints`` (N, K, 3): x, y, visibility, see
    ``PackKeypointInputs``; predictions get ``keypoints`` (N, K, 3): x, y, score, and
    ``keypoint_scores`` (N, K).

    The RoIs that train the keypoint head are those positives of the box head that hold at least one
    labelled keypoint of their object. Detectron (detectron/roi_data/keypoint_rcnn.py at 04155a01)
    has the same conditions, but draws up to a quarter of 512 RoIs among all proposals that fulfil
    them, not only among those drawn for the box head.

    Args:
        keypoint_roi_extractor: None to share the box head's.
        keypoint_head: such as :class:`KeypointRCNNHead`.
        kwargs: those of ``StandardRoIHead``.

    Example:
        >>> model = dict(type='FasterRCNN', roi_head=dict(
        ...     type='KeypointRoIHead', mask_roi_extractor=None, mask_head=None,
        ...     keypoint_head=dict(type='KeypointRCNNHead', num_keypoints=17),
        ...     keypoint_roi_extractor=dict(
        ...         type='SingleRoIExtractor', out_channels=256, featmap_strides=[4, 8, 16, 32],
        ...         roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=2))))
    """

    def __init__(
        self,
        keypoint_head: ConfigType,
        keypoint_roi_extractor: ConfigType | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.keypoint_head = MODELS.build(keypoint_head)
        self.keypoint_roi_extractor = self.bbox_roi_extractor
        if keypoint_roi_extractor is not None:
            self.keypoint_roi_extractor = MODELS.build(keypoint_roi_extractor)

    def loss(
        self,
        x: tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
    ) -> dict:
        """Losses of ``StandardRoIHead``, and ``loss_keypoint``."""
        # the parent shows the RoIs that it samples to bbox_loss, but not the objects
        self._objects = [sample.gt_instances for sample in batch_data_samples]
        return super().loss(x, rpn_results_list, batch_data_samples)

    def bbox_loss(self, x: tuple[Tensor], sampling_results: list[SamplingResult]) -> dict:
        """What ``StandardRoIHead`` returns, with ``loss_keypoint`` beside the losses of boxes."""
        results = super().bbox_loss(x, sampling_results)
        results['loss_bbox'] |= self.keypoint_loss(x, sampling_results, self._objects)
        return results

    def keypoint_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        batch_gt_instances: InstanceList,
    ) -> dict:
        """``loss_keypoint`` of the RoIs that train the keypoint head."""
        boxes, keypoints = [], []
        for result, instances in zip(sampling_results, batch_gt_instances):
            if 'keypoints' not in instances:
                raise InputError(
                    'KeypointRoIHead: the training images come without keypoints: take '
                    'CocoKeypointDataset, LoadKeypointAnnotations and PackKeypointInputs'
                )
            assigned = instances.keypoints[result.pos_assigned_gt_inds]
            _, labelled_inside = keypoints_to_heatmap(assigned, result.pos_priors, 1)
            trains = labelled_inside.any(-1)
            boxes.append(result.pos_priors[trains])
            keypoints.append(assigned[trains])
        heatmaps = self._keypoint_forward(x, bbox2roi(boxes))
        return self.keypoint_head.loss(heatmaps, torch.cat(boxes), torch.cat(keypoints))

    def _keypoint_forward(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        """Heatmaps (N, K, M, M) of the RoIs (N, 5)."""
        features = self.keypoint_roi_extractor(x[: self.keypoint_roi_extractor.num_inputs], rois)
        if self.with_shared_head:
            features = self.shared_head(features)
        return self.keypoint_head(features)

    def predict(
        self,
        x: tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections of ``StandardRoIHead`` with ``keypoints`` and ``keypoint_scores``.

        With ``rescale`` boxes, masks and keypoints are those of the original image.
        """
        results_list = super().predict(x, rpn_results_list, batch_data_samples, rescale)
        boxes = [results.bboxes for results in results_list]
        rois = boxes
        if rescale:
            # a detection's features are those of its box in the input image
            factors = [sample.metainfo['scale_factor'] for sample in batch_data_samples]
            rois = [box * box.new_tensor(factor).repeat(2) for box, factor in zip(boxes, factors)]
        heatmaps = self._keypoint_forward(x, bbox2roi(rois))
        keypoints, scores = self.keypoint_head.predict_by_feat(heatmaps, torch.cat(boxes))
        counts = [len(results) for results in results_list]
        for results, points, score in zip(
            results_list, keypoints.split(counts), scores.split(counts)
        ):
            results.keypoints = points
            results.keypoint_scores = score
        return results_list

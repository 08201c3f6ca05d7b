"""Cascade R-CNN with one mask head, which can begin as the RoI head of a plain Mask R-CNN."""

import copy
from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from mmscratch.errors import InputError


@MODELS.register_module()
class SingleMaskCascadeRoIHead(CascadeRoIHead):
    """``CascadeRoIHead`` with one mask head, on the last stage, and box stages that can wait.

    Paper, figure 5: Cascade R-CNN with two extra stages and a single mask head; models from random
    initialization are plain Mask R-CNNs until the last 270k iterations. The buffer
    ``active_stages`` says which of the two this is. It is in the state dict, so that a checkpoint
    is tested as what it was trained as:

    - 1: a ``StandardRoIHead`` made of stage 1 and the mask head. The other stages have no part in
      the loss and get no gradient.
    - all of them, as in a new model: Cascade R-CNN. Boxes go through all stages; the mask head sees
      the last stage's RoIs only: its positive samples in training, the final boxes in testing.

    ``StartCascadeHook`` switches from one to the other. ``bbox_head`` and ``train_cfg`` are those
    of a Mask R-CNN, and of stage 1. The later stages differ in

    - the IoU from which a RoI is positive, and the weight of the losses
    - the standard deviations of box targets: stage 1's / 2 and / 3 (the weights 10, 20, 30 of
      detectron2 and tensorpack; MMDetection rounds to 0.033 and 0.067)
    - the regression: one box for all classes, as in Cascade R-CNN. Stage 1 keeps a box a class if
      the Mask R-CNN has them, and hands on that of the best foreground class, for the positive
      samples of training that of the true class.

    The mask loss has weight 1 in both phases (so in detectron2; MMDetection weighs its mask heads
    like their stages). Scores are the softmax of the mean logits of all stages, as MMDetection has
    it; detectron2 averages probabilities.

    The paper does not say how the new stages begin. Here they keep their random initialization.
    They could be copies of stage 1, but its outputs are in units of other standard deviations, and
    it regresses a box for each class, where they regress one.

    Args:
        bbox_head: config of stage 1's box head, with a ``bbox_coder`` that has ``target_stds``.
        later_ious: IoU thresholds of stages 2, 3, ... (Cascade R-CNN: 0.5 is stage 1's).
        later_loss_weights: weights of the box losses of stages 2, 3, ...; stage 1 has 1.
        train_cfg: sampling of stage 1, ``model.train_cfg.rcnn`` of a Mask R-CNN.
        kwargs: see ``CascadeRoIHead``; ``bbox_roi_extractor`` is built once a stage.

    Raises:
        InputError: ``bbox_head`` is a list; the numbers of thresholds and weights differ.

    Example:
        >>> model = dict(type='CascadeRCNN', roi_head=dict(type='SingleMaskCascadeRoIHead'))
        >>> find_unused_parameters = True  # until the cascade starts
    """

    active_stages: Tensor

    def __init__(
        self,
        bbox_head: dict,
        later_ious: Sequence[float] = (0.6, 0.7),
        later_loss_weights: Sequence[float] = (0.5, 0.25),
        train_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        if not isinstance(bbox_head, dict):
            raise InputError(
                'SingleMaskCascadeRoIHead: bbox_head is a list; give the dict of stage 1 alone, '
                'the later stages follow from it'
            )
        if len(later_ious) != len(later_loss_weights):
            raise InputError(
                f'SingleMaskCascadeRoIHead: {len(later_ious)} later_ious and '
                f'{len(later_loss_weights)} later_loss_weights; give one of each a stage'
            )
        heads = [later_head(bbox_head, stage) for stage in range(2, len(later_ious) + 2)]
        samplings = train_cfg and [train_cfg] + [later_sampling(train_cfg, u) for u in later_ious]
        super().__init__(
            num_stages=1 + len(later_ious),
            stage_loss_weights=[1.0, *later_loss_weights],
            bbox_head=[bbox_head, *heads],
            train_cfg=samplings,
            **kwargs,
        )
        self.register_buffer('active_stages', torch.tensor(self.num_stages))

    def init_mask_head(self, mask_roi_extractor: dict, mask_head: dict) -> None:
        """Build one of each, where the parent builds one a stage."""
        self.mask_roi_extractor = MODELS.build(mask_roi_extractor)
        self.mask_head = MODELS.build(mask_head)

    _mask_forward = StandardRoIHead._mask_forward
    predict_mask = StandardRoIHead.predict_mask

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of the active stages, ``s0.loss_cls`` and so on, and one ``loss_mask``."""
        phase = self._in_phase()
        losses = CascadeRoIHead.loss(phase, x, rpn_results_list, batch_data_samples)
        # the same name before and after the switch
        return {
            name.replace(f's{phase.num_stages - 1}.loss_mask', 'loss_mask'): value
            for name, value in losses.items()
        }

    def mask_loss(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        sampling_results: list,
        batch_gt_instances: InstanceList,
    ) -> dict[str, dict[str, Tensor]]:
        """``loss_mask`` on the positive samples of the last stage; nothing in stages before it."""
        if stage < self.num_stages - 1:
            return dict(loss_mask={})
        rois = bbox2roi([result.pos_priors for result in sampling_results])
        results = self.mask_head.loss_and_target(
            self._mask_forward(x, rois)['mask_preds'],
            sampling_results,
            batch_gt_instances,
            self.train_cfg[stage],
        )
        # the parent multiplies by the weight, which is that of the boxes
        weight = self.stage_loss_weights[stage]
        return dict(loss_mask={name: loss / weight for name, loss in results['loss_mask'].items()})

    def predict_bbox(self, *args, **kwargs) -> InstanceList:
        """Boxes of the last active stage with the mean scores of the active stages."""
        return CascadeRoIHead.predict_bbox(self._in_phase(), *args, **kwargs)

    def _in_phase(self) -> 'SingleMaskCascadeRoIHead':
        """Return this head as the parent has to see it: with its active stages alone.

        It is a shallow copy: modules and parameters are the same objects.
        """
        phase = copy.copy(self)
        phase.num_stages = int(self.active_stages)
        phase._modules = dict(self._modules, bbox_head=self.bbox_head[: phase.num_stages])
        return phase


def later_head(bbox_head: dict, stage: int) -> dict:
    """Return the config of the box head of stage 2, 3, ..., from stage 1's."""
    head = copy.deepcopy(bbox_head)
    head['reg_class_agnostic'] = True
    head['bbox_coder']['target_stds'] = [std / stage for std in head['bbox_coder']['target_stds']]
    return head


def later_sampling(train_cfg: dict, iou: float) -> dict:
    """Return ``train_cfg`` with another IoU threshold."""
    sampling = copy.deepcopy(train_cfg)
    sampling['assigner'].update(pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou)
    return sampling

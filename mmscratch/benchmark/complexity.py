"""Multiply-adds of a module, and of a detector on one image.

torch's FlopCounterMode counts a multiply and an add for each weight of a convolution or matrix
product that meets an element. Half of that is what papers call FLOPs. Padding counts like pixels;
so do the outputs of a transposed convolution that its padding cuts off. Not counted: biases, norm
layers, activations, pooling, interpolation (FPN's upsampling), RoIAlign, decoding of boxes, NMS.

Nothing is computed: modules run on the meta device, where tensors have a shape and no data.
"""

import math
from typing import Any

import torch
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmscratch.errors import InputError


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one forward pass of ``module``; module and inputs on the meta device."""
    return _run(module, *inputs)[0]


def detector_multiply_adds(
    detector: TwoStageDetector | SingleStageDetector, height: int = 800, width: int = 1333
) -> dict[str, int]:
    """Multiply-adds of testing one image, by part: backbone, neck, rpn_head, bbox_head, ...

    The image is padded as the detector pads it. In a two-stage detector, RPN runs on all levels;
    each box head (all stages of a cascade) on ``test_cfg.rpn.max_per_img`` RoIs; each mask or
    keypoint head on ``test_cfg.rcnn.max_per_img``, the detections that are kept. These are the most
    there can be: an image with fewer objects costs less.

    Args:
        detector: built under ``torch.device('meta')``; neck, mask head and keypoint head may be
            missing, heads may be lists. InputError for one with a ``shared_head``.
        height: of the resized image, in pixels, before padding.
        width: likewise.
    """
    # MMDetection's L2Norm makes its weight on the CPU, whatever the device it is built under
    detector.to('meta')
    divisor = detector.data_preprocessor.pad_size_divisor
    padded = [math.ceil(side / divisor) * divisor for side in (height, width)]
    counts = {}
    counts['backbone'], features = _run(
        detector.backbone, torch.empty(1, 3, *padded, device='meta')
    )
    if detector.with_neck:
        counts['neck'], features = _run(detector.neck, features)
    if isinstance(detector, SingleStageDetector):
        return counts | {'bbox_head': _run(detector.bbox_head, features)[0]}

    roi_head = detector.roi_head
    if roi_head.with_shared_head:
        raise InputError('model.roi_head.shared_head: cannot be counted; count a model without one')
    counts['rpn_head'], _ = _run(detector.rpn_head, features)
    rois = dict(
        bbox=detector.test_cfg.rpn.max_per_img,
        mask=detector.test_cfg.rcnn.max_per_img,
        keypoint=detector.test_cfg.rcnn.max_per_img,
    )
    for kind, number in rois.items():
        heads = getattr(roi_head, f'{kind}_head', None)
        if heads is None:
            continue
        extractors = _as_list(getattr(roi_head, f'{kind}_roi_extractor'))
        counts[f'{kind}_head'] = sum(
            multiply_adds(head, torch.empty(number, extractor.out_channels, *size, device='meta'))
            for extractor, head in zip(extractors, _as_list(heads))
            for size in [extractor.roi_layers[0].output_size]
        )
    return counts


def _run(module: nn.Module, *inputs: Any) -> tuple[int, Any]:
    """Multiply-adds and output of a pass in evaluation mode, without gradients."""
    # in training mode BN refuses a single value a channel: one image's 1 x 1 map, DSOD192's last
    training = [layer for layer in module.modules() if layer.training]
    for layer in training:
        layer.training = False
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = module(*inputs)
    finally:
        for layer in training:
            layer.training = True
    return counter.get_total_flops() // 2, output


def _as_list(module: nn.Module) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.ModuleList) else [module]

"""Multiply-adds of a module, and of a detector on one image.

Counted: convolutions, transposed convolutions and linear layers, one multiply-add for each weight
that meets each element: the number papers call FLOPs. Padding counts as what it surrounds, and a
transposed convolution's outputs that its own padding cuts off count too. Not counted: biases, norm
layers, activations, pooling, interpolation (FPN's upsampling), RoIAlign, decoding of boxes, NMS.

Nothing is computed: modules run on the meta device, where tensors have a shape and no data.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from torch import Tensor, nn

from mmscratch.errors import InputError


def multiply_adds(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of one forward pass of ``module``; module and inputs on the meta device."""
    with _counting({'': module}) as counts:
        module(*inputs)
    return counts['']


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
    parts = {'backbone': detector.backbone}
    if detector.with_neck:
        parts['neck'] = detector.neck
    divisor = detector.data_preprocessor.pad_size_divisor
    padded = [math.ceil(side / divisor) * divisor for side in (height, width)]
    image = torch.empty(1, 3, *padded, device='meta')
    if isinstance(detector, SingleStageDetector):
        parts['bbox_head'] = detector.bbox_head
        with _counting(parts) as counts:
            detector.bbox_head(detector.extract_feat(image))
        return {part: counts[part] for part in parts}

    roi_head = detector.roi_head
    if roi_head.with_shared_head:
        raise InputError('model.roi_head.shared_head: cannot be counted; count a model without one')
    parts['rpn_head'] = detector.rpn_head
    rois = dict(
        bbox=detector.test_cfg.rpn.max_per_img,
        mask=detector.test_cfg.rcnn.max_per_img,
        keypoint=detector.test_cfg.rcnn.max_per_img,
    )
    heads = [kind for kind in rois if getattr(roi_head, f'{kind}_head', None) is not None]
    parts.update({f'{kind}_head': getattr(roi_head, f'{kind}_head') for kind in heads})

    with _counting(parts) as counts:
        detector.rpn_head(detector.extract_feat(image))
        for kind in heads:
            extractors = _as_list(getattr(roi_head, f'{kind}_roi_extractor'))
            for extractor, head in zip(extractors, _as_list(parts[f'{kind}_head'])):
                size = extractor.roi_layers[0].output_size
                head(torch.empty(rois[kind], extractor.out_channels, *size, device='meta'))
    return {part: counts[part] for part in parts}


@contextmanager
def _counting(parts: dict[str, nn.Module]) -> Iterator[Counter]:
    """Count what the parts compute meanwhile, in evaluation mode and without gradients."""
    counts: Counter[str] = Counter()

    def hook_of(part: str):
        def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            counts[part] += _of_layer(layer, inputs[0], output)

        return hook

    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    layers = [(part, layer) for part in parts for layer in parts[part].modules()]
    handles = [
        layer.register_forward_hook(hook_of(part))
        for part, layer in layers
        if isinstance(layer, kinds)
    ]
    # in training mode BN refuses a single value a channel: one image's 1 x 1 map, DSOD192's last
    training = [layer for _, layer in layers if layer.training]
    for layer in training:
        layer.training = False
    try:
        with torch.no_grad():
            yield counts
    finally:
        for layer in training:
            layer.training = True
        for handle in handles:
            handle.remove()


def _of_layer(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    window = math.prod(layer.kernel_size)
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return x.numel() * layer.out_channels // layer.groups * window
    return output.numel() * layer.in_channels // layer.groups * window


def _as_list(module: nn.Module) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.ModuleList) else [module]

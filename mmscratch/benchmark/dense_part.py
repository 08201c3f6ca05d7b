"""The part of a detector whose shapes are those of the images: compiled, or one CUDA graph."""

import torch
from torch import Tensor, nn


class DensePart(nn.Module):
    """Backbone, neck and the RPN's layers of a two-stage detector.

    Args:
        detector: MMDetection's.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = detector.backbone, detector.neck
        self.rpn_head, self.rpn_forward = detector.rpn_head, detector.rpn_head.forward

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The L levels' features, then their scores and box deltas, of images [B, 3, H, W]."""
        features = self.neck(self.backbone(images))
        scores, deltas = self.rpn_forward(features)
        return (*features, *scores, *deltas)


def run_dense_part_at_once(detector: nn.Module, images: Tensor, how: str) -> None:
    """Let ``detector`` run its dense part in one call when it extracts features.

    Args:
        detector: in training; called under autocast, if that is wanted.
        images: [B, 3, H, W], of which all further batches have the shape.
        how: 'graph' records forward and backward pass as a CUDA graph each and replays them: the
            GPU gets its 2,000 kernels in one piece. Gradients lie in the graph's own memory: they
            must be set to None before the next step, not added up over several. Else a mode of
            torch.compile. A CPU has no graphs, and no compiler here.
    """
    dense = DensePart(detector)
    on_gpu = images.is_cuda
    if how == 'graph' and on_gpu:
        enabled = torch.is_autocast_enabled('cuda')
        # weights in half precision are made anew within the graph
        with torch.autocast('cuda', torch.bfloat16, enabled=enabled, cache_enabled=False):
            dense = torch.cuda.make_graphed_callables(dense, (images,), allow_unused_input=True)
    elif how != 'graph':
        dense.compile(**dict(mode=how) if on_gpu else dict(backend='eager'), dynamic=False)
    outputs: list[Tensor] = []

    def extract_feat(images: Tensor) -> tuple[Tensor, ...]:
        outputs[:] = dense(images)
        return tuple(outputs[: len(outputs) // 3])

    def rpn_forward(features: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        levels = len(features)
        own = outputs[levels : 2 * levels], outputs[2 * levels :]
        # nothing of a step may be held when the next one begins
        outputs.clear()
        return own

    detector.extract_feat, detector.rpn_head.forward = extract_feat, rpn_forward

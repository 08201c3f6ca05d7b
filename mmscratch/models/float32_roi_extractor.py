"""RoI pooling in float32, also under mixed precision."""

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

from mmscratch.ops.precision import at_least_float32


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` that converts its maps to float32, and the boxes with them.

    The parent converts boxes to the maps' format first. In float16 an area beyond 65,504 square
    pixels is infinite, so that boxes of 256 to 447 pixels a side go to a level too high.
    Coordinates lose their fraction beyond 1024, in bfloat16 beyond 128. Under autocast,
    convolutions and BN make half-precision maps. GroupNorm's maps are float32, but for autocast to
    bfloat16 on a GPU (``mmscratch.models.speedups``).

    A call with half-precision maps makes a float32 copy of all levels, and frees it at its end: for
    256 channels at strides 4 to 32, 89 MB an image of 1024 x 1024 pixels. The gradient has the same
    size. RoI features come out as float32.
    """

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """RoI features [K, C, P, Q] of the levels [B, C, H, W] and RoIs [K, 5], see the parent."""
        return super().forward(tuple(at_least_float32(*feats)), rois, roi_scale_factor)

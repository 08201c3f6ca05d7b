"""Pooling of RoIs that mixed precision leaves as it is."""

from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

from mmscratch.ops.precision import at_least_float32


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """``SingleRoIExtractor`` that takes its maps as float32, and with them the boxes.

    The parent brings boxes into the maps' format before it looks at them. In float16 areas beyond
    65,504 square pixels are infinite, so that boxes of 256 to 447 pixels a side go to the level
    above theirs; coordinates beyond 1024 lose their fraction, in bfloat16 those beyond 128. Under
    autocast, convolutions and BN make half-precision maps; GroupNorm's are float32, and need none
    of this.

    Each call with such maps makes a float32 copy of all levels, and frees it at its end: for
    256 channels at strides 4 to 32, 89 MB an image of 1024 x 1024 pixels. The gradient on its way
    back has the same size. RoI features come out as float32, as from GroupNorm's maps.
    """

    def forward(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """RoI features [K, C, P, Q] of the levels [B, C, H, W] and RoIs [K, 5], see the parent."""
        return super().forward(tuple(at_least_float32(*feats)), rois, roi_scale_factor)

"""A feature pyramid from the last map of a plain backbone."""

from collections.abc import Sequence

import mmengine.registry
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from mmscratch.errors import InputError

# LayerNorm over the channels of each pixel, for norm_cfg: in the registry of GN and BN
mmengine.registry.MODELS.register_module('LN2d', module=LayerNorm2d)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Maps of 4, 2, 1 and 1/2 times the side of one map, without a top-down path, and smaller ones.

    Source: Li et al., ECCV 2022 (ViTDet), section 3; detectron2's ``modeling/backbone/vit.py``. The
    map of a ViT with patches of 16 pixels gives strides 4, 8, 16 and 32. Each is made by transposed
    convolutions or pooling, then goes through a 1x1 and a 3x3 convolution, each with a norm layer.

    Args:
        in_channels: channels of the backbone's one map, divisible by 4; a list of that one number
            as for FPN is taken too.
        out_channels: channels of all maps.
        num_outs: number of maps; each after the fourth is every second pixel of the one before.
        norm_cfg: ViTDet has ``LN2d``, LayerNorm over the channels of each pixel.
        init_cfg: the default keeps torch's initialization of the transposed convolutions, as ViTDet
            does, and MSRA's, mmcv's default, of the others, which ViTDet leaves to torch.

    Example:
        >>> neck = dict(type='SimpleFeaturePyramid', in_channels=384, out_channels=256)
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        width, *others = [in_channels] if isinstance(in_channels, int) else in_channels
        if others or width % 4 or num_outs < 4:
            raise InputError(
                f'model.neck: in_channels={in_channels} and num_outs={num_outs}; a simple feature '
                'pyramid takes one map whose channels are divisible by 4, and has 4 maps or more'
            )
        norm_cfg = norm_cfg or dict(type='LN2d', eps=1e-6)
        up = nn.ConvTranspose2d(width, width // 2, 2, 2)
        upper = nn.ConvTranspose2d(width, width // 2, 2, 2)
        uppermost = nn.ConvTranspose2d(width // 2, width // 4, 2, 2)
        middle = build_norm_layer(norm_cfg, width // 2)[1]
        self.scales = nn.ModuleList(
            [
                nn.Sequential(upper, middle, nn.GELU(), uppermost),
                up,
                nn.Identity(),
                nn.MaxPool2d(2, 2),
            ]
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                ConvModule(channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None),
                ConvModule(
                    out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None
                ),
            )
            for channels in (width // 4, width // 2, width, width)
        )
        self.num_outs = num_outs

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor, ...]:
        """One map [B, in_channels, H, W] to maps [B, out_channels, 4 H, 4 W] and smaller."""
        (x,) = inputs
        maps = [level(scale(x)) for scale, level in zip(self.scales, self.levels)]
        while len(maps) < self.num_outs:
            maps.append(F.max_pool2d(maps[-1], 1, 2))
        return tuple(maps)

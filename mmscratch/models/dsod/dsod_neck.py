"""DSOD's six maps: each learns half of its channels and reuses the previous map for the rest."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmscratch.models.dsod.dsod_net import halving_pool, pre_activation_conv


class Reuse(nn.Module):
    """Pools the previous map, then projects it, which is a quarter of the work in this order."""

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict) -> None:
        super().__init__()
        self.pool = halving_pool()
        self.project = pre_activation_conv(in_channels, out_channels, 1, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, out_channels, ceil(H / 2), ceil(W / 2)]."""
        return self.project(self.pool(x))


@MODELS.register_module()
class DSODNeck(BaseModule):
    """Maps of strides 8, 16, 32, 64, ... from the two of :class:`DSODNet`.

    Source: Shen et al., ICCV 2017, section 3.1 and figure 1; layers as in the authors'
    ``model_libs.py``. The dense structure ("learning half and reusing half") concatenates each map
    with the previous one, pooled and projected. The plain structure is SSD's chain of 1 x 1 and
    3 x 3 convolutions. Both have the same channels from the third map on.

    Example:
        >>> model = dict(neck=dict(type='DSODNeck', in_channels=(800, 256), dense=False))

    Args:
        in_channels: of the backbone's two maps.
        half_channels: half the channels of each further map.
        dense: whether each map reuses the previous one.
        norm_cfg: as in :class:`DSODNet`.
        init_cfg: as in :class:`DSODNet`.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (800, 256),
        half_channels: Sequence[int] = (256, 128, 128, 128),
        dense: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Caffe2Xavier', layer='Conv2d'))
        norm_cfg = norm_cfg or dict(type='BN')
        self.dense = dense
        first, channels = in_channels
        # the authors' order: reused layers before learned ones
        self.reused, self.learned = nn.ModuleList(), nn.ModuleList()
        if dense:
            self.reused.append(Reuse(first, channels, norm_cfg))
            channels *= 2
        for half in half_channels:
            if dense:
                self.reused.append(Reuse(channels, half, norm_cfg))
            grown = half if dense else 2 * half
            self.learned.append(
                nn.Sequential(
                    pre_activation_conv(channels, half, 1, norm_cfg),
                    pre_activation_conv(half, grown, 3, norm_cfg, stride=2),
                )
            )
            channels = 2 * half

    def forward(self, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The backbone's maps to ``2 + len(half_channels)`` maps, each half as wide as the last.

        Of DSOD300: 38, 19, 10, 5, 3 and 2 cells a side, 800, 512, 512, 256, 256 and 256 channels.
        """
        first, x = inputs
        if self.dense:
            x = torch.cat([x, self.reused[0](first)], 1)
        maps = [first, x]
        for i, learned in enumerate(self.learned):
            parts = [self.reused[i + 1](x)] if self.dense else []
            x = torch.cat([*parts, learned(x)], 1)
            maps.append(x)
        return tuple(maps)

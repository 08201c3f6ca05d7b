"""DSOD's backbone: a DenseNet that pools less often than a classifier's."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmscratch.errors import InputError

PRE_ACTIVATION = ('norm', 'act', 'conv')


def pre_activation_conv(
    in_channels: int, out_channels: int, kernel_size: int, norm_cfg: dict, stride: int = 1
) -> ConvModule:
    """Norm, ReLU, convolution without bias; the input is padded to keep its size at stride 1."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
        norm_cfg=norm_cfg,
        order=PRE_ACTIVATION,
    )


def halving_pool() -> nn.MaxPool2d:
    """2 x 2 max pooling that rounds up, as Caffe's does: 75 cells become 38."""
    return nn.MaxPool2d(2, 2, ceil_mode=True)


class DenseLayer(nn.Module):
    """A 1 x 1 and a 3 x 3 convolution, whose output is concatenated to the layer's input."""

    def __init__(self, in_channels: int, bottleneck: int, growth: int, norm_cfg: dict) -> None:
        super().__init__()
        self.reduce = pre_activation_conv(in_channels, bottleneck, 1, norm_cfg)
        self.grow = pre_activation_conv(bottleneck, growth, 3, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C + growth, H, W]."""
        return torch.cat([x, self.grow(self.reduce(x))], 1)


@MODELS.register_module()
class DSODNet(BaseModule):
    """DS/A-B-k-theta of DSOD: stem, dense blocks, transitions with pooling and then without.

    Source: Shen et al., "DSOD: Learning Deeply Supervised Object Detectors from Scratch", ICCV
    2017, table 1; layers, widths and defaults as in the authors' ``model_libs.py`` (szq0214/DSOD at
    bbb6f0f). A pool follows the first transition. The output of the second transition is the first
    map, and is pooled for the next block. All further transitions keep the resolution.

    Example:
        >>> model = dict(backbone=dict(type='DSODNet', bottleneck=64, growth=16))

    Args:
        stem: ``'block'``, three 3 x 3 convolutions of A, A and 2A channels, or ``'conv7'``, one
            7 x 7 convolution of A channels with a 3 x 3 pool, DenseNet's.
        first_channels: A, channels of the first convolution.
        bottleneck: B, channels of the 1 x 1 convolution of each dense layer.
        growth: k, channels that a dense layer adds.
        compression: theta; a transition has so many times the channels counted up to it.
        layers: dense layers of each block. The paper's networks have four blocks, or three if no
            transition keeps the resolution.
        last_channels: channels of the last transition; None takes compression times the count.
        counted_from: the channels from which transitions count: ``'stem'``, the stem's output, or
            ``'first_conv'``, A. The sizes that the paper prints for its networks with plain
            prediction layers fit a count from A, although their stem block gives 2A.
        norm_cfg: BN in DSOD, with the statistics of one GPU's images.
        in_channels: channels of the images.
        init_cfg: the default is Caffe's xavier, uniform in +-sqrt(3 / fan_in).

    Raises:
        InputError: an unknown stem or start of the count, or fewer than three blocks.
    """

    def __init__(
        self,
        stem: str = 'block',
        first_channels: int = 64,
        bottleneck: int = 192,
        growth: int = 48,
        compression: float = 1.0,
        layers: Sequence[int] = (6, 8, 8, 8),
        last_channels: int | None = 256,
        counted_from: str = 'stem',
        norm_cfg: dict | None = None,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Caffe2Xavier', layer='Conv2d'))
        norm_cfg = norm_cfg or dict(type='BN')
        if stem not in ('block', 'conv7'):
            raise InputError(f"model.backbone.stem={stem!r}: it is 'block' or 'conv7'")
        if counted_from not in ('stem', 'first_conv'):
            raise InputError(
                f"model.backbone.counted_from={counted_from!r}: it is 'stem' or 'first_conv'"
            )
        if len(layers) < 3:
            raise InputError(f'model.backbone.layers={tuple(layers)}: DSOD has 3 or more blocks')
        self.stem = _stem(stem, in_channels, first_channels, norm_cfg)
        channels = first_channels * (2 if stem == 'block' else 1)
        counted = channels if counted_from == 'stem' else first_channels
        blocks, transitions = [], []
        for i, depth in enumerate(layers):
            inside = [channels + j * growth for j in range(depth + 1)]
            blocks.append(
                nn.Sequential(*(DenseLayer(c, bottleneck, growth, norm_cfg) for c in inside[:-1]))
            )
            counted = int((counted + depth * growth) * compression)
            channels = counted
            if i == len(layers) - 1 and last_channels:
                channels = last_channels
            transitions.append(pre_activation_conv(inside[-1], channels, 1, norm_cfg))
        self.blocks = nn.ModuleList(blocks)
        self.transitions = nn.ModuleList(transitions)
        self.pool = halving_pool()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] to maps of about H / 8 and H / 16, linear outputs of convolutions.

        Of 300 x 300 pixels: 38 x 38 with 800 channels, and 19 x 19 with ``last_channels``.
        """
        x = self.pool(self.transitions[0](self.blocks[0](self.stem(x))))
        first = self.transitions[1](self.blocks[1](x))
        x = self.pool(first)
        for block, transition in zip(self.blocks[2:], self.transitions[2:]):
            x = transition(block(x))
        return first, x


def _stem(kind: str, in_channels: int, channels: int, norm_cfg: dict) -> nn.Sequential:
    """Convolutions with norm and ReLU behind them, at stride 2, and a pool."""
    if kind == 'conv7':
        conv = ConvModule(in_channels, channels, 7, stride=2, padding=3, norm_cfg=norm_cfg)
        return nn.Sequential(conv, nn.MaxPool2d(3, 2, padding=1))
    return nn.Sequential(
        ConvModule(in_channels, channels, 3, stride=2, padding=1, norm_cfg=norm_cfg),
        ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg),
        ConvModule(channels, 2 * channels, 3, padding=1, norm_cfg=norm_cfg),
        halving_pool(),
    )

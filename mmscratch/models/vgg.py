"""VGG without fully connected layers, as a detector's backbone."""

from mmcv.cnn import VGG as _MmcvVGG
from mmcv.cnn.vgg import make_vgg_layer
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmscratch.errors import InputError


@MODELS.register_module()
class VGG(BaseModule):
    """conv1_1 to conv5_3 of VGG-16, or the like of another depth; no norm layers, nothing frozen.

    Source: Simonyan and Zisserman, ICLR 2015, table 1; as a backbone, Detectron's
    ``modeling/VGG16.py``, but for its stop of the gradient behind pool2, which would leave the
    first four layers at their random weights. pool5 is left out. The layers are named as
    torchvision's (``features.0.weight``), so that its weights load by name.

    Args:
        depth: 11, 13, 16 or 19.
        base_channels: channels of the first stage; the next three double them in turn. VGG has 64.
        in_channels: channels of the images.
        init_cfg: the default is MSRA with fan-out (He et al., ICCV 2015, eq. 14), biases 0, which
            the paper takes for VGG (section 5): without it or norm layers signals die out.

    Example:
        >>> model = dict(backbone=dict(_delete_=True, type='VGG', depth=16), neck=None)
    """

    def __init__(
        self,
        depth: int = 16,
        base_channels: int = 64,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        if depth not in _MmcvVGG.arch_settings:
            raise InputError(f'model.backbone.depth={depth}: VGG has 11, 13, 16 or 19')
        self.depth = depth
        layers: list[nn.Module] = []
        channels = in_channels
        for stage, convs in enumerate(_MmcvVGG.arch_settings[depth]):
            width = base_channels * min(2**stage, 8)
            layers += make_vgg_layer(channels, width, convs)
            channels = width
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Images [B, C, H, W] to one map [B, 8 * base_channels, H // 16, W // 16], 0 or more."""
        return (self.features(x),)

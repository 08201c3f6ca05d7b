"""DSOD's prediction layers: SSD's, with an L2 norm before and a norm layer behind each."""

from mmcv.cnn import ConvModule
from mmdet.models.necks.ssd_neck import L2Norm
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmscratch.models.repaired_ssd_head import RepairedSSDHead


@MODELS.register_module()
class DSODHead(RepairedSSDHead):
    """SSD's head with an L2 norm of every map; its convolutions have a norm layer and no bias.

    Source: Shen et al., ICCV 2017, section 3; ``CreateMultiBoxHead`` in the authors'
    ``model_libs.py``. Each cell of each map is scaled to length 1 over its channels, times a
    learned scale per channel that begins at 20 (Liu et al., "ParseNet"; SSD has it on its first
    map). Matching, hard negatives, loss and decoding are those of :class:`mmdet.models.SSDHead`.
    The background is the last class (Caffe: the first): a map with P priors a cell has
    P x (num_classes + 1) scores.

    Example:
        >>> model = dict(bbox_head=dict(type='DSODHead', norm_cfg=dict(type='SyncBN')))

    Args:
        l2_norm_scale: start of the learned scales.
        norm_cfg: of the norm layer behind each convolution, BN in DSOD; None gives the convolutions
            biases instead. GN would normalize over the scores of an image.
        init_cfg: the default is normal with std 0.01 for convolutions.
        kwargs: of :class:`mmdet.models.SSDHead`.
    """

    def __init__(
        self,
        *args,
        l2_norm_scale: float = 20.0,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        self.l2_norm_scale = l2_norm_scale
        super().__init__(
            *args,
            init_cfg=init_cfg
            or [
                dict(type='Normal', layer='Conv2d', std=0.01),
                dict(type='Constant', layer='L2Norm', val=l2_norm_scale),
            ],
            **kwargs,
        )

    def _init_layers(self) -> None:
        """One L2 norm and two convolutions a map."""
        self.l2_norms = nn.ModuleList(
            L2Norm(channels, self.l2_norm_scale) for channels in self.in_channels
        )
        self.cls_convs, self.reg_convs = nn.ModuleList(), nn.ModuleList()
        for channels, priors in zip(self.in_channels, self.num_base_priors):
            self.reg_convs.append(self._prediction(channels, priors * 4))
            self.cls_convs.append(self._prediction(channels, priors * self.cls_out_channels))

    def _prediction(self, in_channels: int, out_channels: int) -> ConvModule:
        return ConvModule(
            in_channels, out_channels, 3, padding=1, norm_cfg=self.norm_cfg, act_cfg=None
        )

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps [B, C, H, W] to scores [B, P * (num_classes + 1), H, W] and boxes [B, P * 4, H, W].

        Scores are before the softmax; boxes are offsets from the priors (centre and log size), in
        units of ``bbox_coder.target_stds``.
        """
        return super().forward(tuple(norm(m) for norm, m in zip(self.l2_norms, x)))

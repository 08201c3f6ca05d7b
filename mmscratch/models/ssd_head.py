"""SSD's prediction layers, able to predict."""

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS


@MODELS.register_module()
class RepairedSSDHead(SSDHead):
    """MMDetection's SSDHead, which in 3.3.0 trains and then stops at its first prediction.

    Its ``predict`` asks ``self.loss_cls`` for a switch that SSD has not, and no ``loss_cls`` is
    there to be asked (MMDetection's issues 11063 and 11780). The background is the last class.
    """

    loss_cls = None

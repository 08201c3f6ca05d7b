"""MMDetection's SSDHead with a repair, without which it cannot predict."""

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS


@MODELS.register_module()
class RepairedSSDHead(SSDHead):
    """MMDetection's SSDHead, able to predict; the background is the last class.

    SSDHead of MMDetection 3.3.0 trains, and stops at its first prediction: its ``predict`` reads a
    switch of ``self.loss_cls``, which SSD does not have (MMDetection's issues 11063 and 11780).

    Example:
        >>> model = dict(bbox_head=dict(type='RepairedSSDHead'))
    """

    loss_cls = None

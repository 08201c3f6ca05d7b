"""The keypoint head of Mask R-CNN (He et al., ICCV 2017, section 5), as Detectron builds it.

Detectron, detectron/modeling/keypoint_rcnn_heads.py at commit 04155a01, with
configs/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml. torchvision's functions turn
keypoints into bins and heatmaps into keypoints, as detectron/utils/keypoints.py does.

Shapes: N RoIs, K keypoints, C channels, M bins a side: 56, four times the RoI's features.
"""

import itertools

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from mmscratch.errors import InputError


@MODELS.register_module()
class KeypointRCNNHead(BaseModule):
    """Eight 3x3 convs with ReLU, a transposed conv to K maps of twice the size, bilinear x2.

    Each keypoint is a choice of one of the M x M bins of the RoI: softmax over all bins, cross
    entropy against the bin that holds the keypoint, averaged over the labelled keypoints of the
    device's images (``KRCNN.NORMALIZE_BY_VISIBLE_KEYPOINTS``, ``KRCNN.LOSS_WEIGHT`` 1.0).

    Detectron's keypoint head never has norm layers: its GN baselines put GN into ResNet, FPN, box
    and mask head alone. Hence ``norm_cfg=None``. MSRAFill initializes all layers
    (``KRCNN.CONV_INIT`` of the yaml; the std of 0.001 is for GaussianFill, the default).

    Differences: the bilinear interpolation repeats the border's values where Detectron's, a
    transposed conv, counts zeros beyond it; a batch of fewer than 20 labelled keypoints is
    trained on, where Detectron draws another one (KRCNN.MIN_KEYPOINT_COUNT_FOR_VALID_MINIBATCH).

    Args:
        num_keypoints: K.
        num_convs: number of 3x3 convs.
        in_channels: channels of the RoI's features.
        conv_out_channels: channels of the convs.
        norm_cfg: of the convs; none by default.
        loss_keypoint: softmax cross entropy over M x M classes, with ``avg_factor``.
        init_cfg: of MMEngine.
    """

    def __init__(
        self,
        num_keypoints: int = 17,
        num_convs: int = 8,
        in_channels: int = 256,
        conv_out_channels: int = 512,
        norm_cfg: OptConfigType = None,
        loss_keypoint: ConfigType = dict(type='CrossEntropyLoss', loss_weight=1.0),  # noqa: B006
        init_cfg: OptMultiConfig = dict(type='Kaiming', layer=['Conv2d', 'ConvTranspose2d']),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_keypoints = num_keypoints
        channels = [in_channels] + [conv_out_channels] * num_convs
        self.convs = nn.Sequential(
            *(
                ConvModule(before, after, 3, padding=1, norm_cfg=norm_cfg)
                for before, after in itertools.pairwise(channels)
            )
        )
        self.deconv = nn.ConvTranspose2d(channels[-1], num_keypoints, 4, stride=2, padding=1)
        self.loss_keypoint = MODELS.build(loss_keypoint)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, M / 4, M / 4) features to (N, K, M, M) logits."""
        x = self.deconv(self.convs(x))
        return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)

    def get_targets(
        self, boxes: Tensor, keypoints: Tensor, heatmap_size: int
    ) -> tuple[Tensor, Tensor]:
        """The bin of each keypoint, row * M + column, and whether it trains; both (N, K).

        It trains if it is labelled (visibility 1 or 2) and lies within its RoI. A point on the
        RoI's right or lower edge belongs to the last bin. The bin of one that does not train is 0.

        Args:
            boxes: (N, 4), the RoIs as x1, y1, x2, y2.
            keypoints: (N, K, 3) of the object that each RoI is assigned to.
            heatmap_size: M.
        """
        if keypoints.size(1) != self.num_keypoints:
            raise InputError(
                f'keypoint_head.num_keypoints={self.num_keypoints}, but the data has '
                f'{keypoints.size(1)} keypoints an object: set num_keypoints to that'
            )
        bins, trains = keypoints_to_heatmap(keypoints, boxes, heatmap_size)
        return bins, trains.bool()

    def loss(self, heatmaps: Tensor, boxes: Tensor, keypoints: Tensor) -> dict[str, Tensor]:
        """``loss_keypoint`` of the logits (N, K, M, M); the rest as for :meth:`get_targets`.

        Without a keypoint to train on it is 0, with a gradient of 0 for each parameter.
        """
        bins, trains = self.get_targets(boxes, keypoints, heatmaps.size(-1))
        if not trains.any():
            return dict(loss_keypoint=heatmaps.sum() * 0)
        logits = heatmaps.flatten(2)[trains]
        loss = self.loss_keypoint(logits, bins[trains], avg_factor=int(trains.sum()))
        return dict(loss_keypoint=loss)

    def predict_by_feat(self, heatmaps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints (N, K, 3) as x, y, score in the coordinates of the boxes, and scores (N, K).

        torchvision enlarges each map to its box's size in whole pixels, rounded up, by bicubic
        interpolation, and takes the middle of the highest pixel. A box that is smaller than its map
        is sampled without averaging, so that a peak narrower than M / side bins can be missed. The
        head's own maps, which it enlarges twice, have none.

        Args:
            heatmaps: (N, K, M, M) logits.
            boxes: (N, 4), the RoIs as x1, y1, x2, y2; sides under 1 count as 1. For Detectron's
                results, give them in pixels of the original image.

        A score is the probability, 0..1, of the likeliest bin. It does not enter the detection's
        score (``KRCNN.KEYPOINT_CONFIDENCE: bbox``).
        """
        scores = heatmaps.flatten(2).float().softmax(-1).amax(-1)
        points, _ = heatmaps_to_keypoints(heatmaps.float(), boxes)
        return torch.cat([points[..., :2], scores[..., None]], dim=-1), scores

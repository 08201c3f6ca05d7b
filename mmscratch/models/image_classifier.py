"""An image classifier around a detector's backbone: what a detector is pre-trained as."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.model import BaseModel
from torch import Tensor, nn


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Backbone, global average pooling, linear layer, softmax; He et al., CVPR 2016, section 3.3.

    It reads what detectors read: an image's class is the label of its one object. Its checkpoint
    names the backbone's weights as detectors do.

    Args:
        backbone: a ResNet or the like; its last map is taken.
        num_classes: number of classes.
        in_channels: channels of the backbone's last map.
        data_preprocessor: as for detectors.
    """

    def __init__(
        self, backbone: dict, num_classes: int, in_channels: int, data_preprocessor: dict
    ) -> None:
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.classifier = nn.Linear(in_channels, num_classes)

    def init_weights(self) -> None:
        """The backbone's own initialization; normal with std 0.01 for the linear layer."""
        self.backbone.init_weights()
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, inputs: Tensor, data_samples: SampleList | None = None, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor] | SampleList:
        """Images [B, 3, H, W] to scores [B, num_classes] before the softmax (mode ``'tensor'``).

        ``'loss'`` gives ``{'loss_cls': ...}``, ``'predict'`` the samples with ``pred_scores``
        [num_classes], which add up to 1.
        """
        scores = self.classifier(self.backbone(inputs)[-1].mean((2, 3)))
        if mode == 'tensor' or data_samples is None:
            return scores
        if mode == 'loss':
            labels = torch.cat([sample.gt_instances.labels for sample in data_samples])
            return dict(loss_cls=F.cross_entropy(scores, labels))
        for sample, probabilities in zip(data_samples, scores.softmax(1)):
            sample.set_field(probabilities, 'pred_scores')
        return data_samples

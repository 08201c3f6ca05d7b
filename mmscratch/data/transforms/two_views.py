"""Two random views of an image, for contrastive pre-training."""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from torch import Tensor
from torchvision.transforms import v2

SIGMA = (0.1, 2.0)  # of the blur, in pixels


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Two views as of MoCo v2 (Chen et al. 2020, section 3; augmentation of SimCLR).

    Crop and resize, change of colours (80 %), grey (20 %), blur (50 %), horizontal flip (50 %).
    Saturation and hue of a grey image are left alone, which takes half of the time and changes
    nothing.

    Required keys: ``img``, [H, W, 3] uint8 in the order BGR. Added: ``inputs``, a tensor [2, 3,
    size, size], uint8, BGR. All other keys are removed.

    Args:
        size: side of the views in pixels.
        least_area: share of the image that a crop has at least; up to 1.
        jitter: of brightness, contrast and saturation; hue changes by a quarter of it.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'), dict(type='TwoViews', size=128)]
    """

    def __init__(self, size: int = 192, least_area: float = 0.2, jitter: float = 0.4) -> None:
        self.size = size
        self.crop = v2.RandomResizedCrop(size, scale=(least_area, 1.0))
        colours = v2.ColorJitter(jitter, jitter, jitter, jitter / 4)
        self.change = _changes(colours, v2.RandomGrayscale(p=0.2))
        self.change_grey = _changes(v2.ColorJitter(jitter, jitter))

    def transform(self, results: dict) -> dict:
        """Return the views of ``results['img']``; random numbers come from torch."""
        image = results['img']
        is_grey = all(np.array_equal(image[..., 0], image[..., other]) for other in (1, 2))
        change = self.change_grey if is_grey else self.change
        crops = [self.crop(torch.from_numpy(image).permute(2, 0, 1)) for _ in range(2)]
        # torchvision's colours are RGB
        return dict(inputs=torch.stack([change(crop.flip(0)).flip(0) for crop in crops]))


def _changes(colours: v2.Transform, *more: v2.Transform) -> v2.Compose:
    blur = v2.RandomApply([v2.Lambda(_blurred)], p=0.5)
    return v2.Compose(
        [v2.RandomApply([colours], p=0.8), *more, blur, v2.RandomHorizontalFlip(p=0.5)]
    )


def _blurred(view: Tensor) -> Tensor:
    # OpenCV's takes a tenth of the time of torchvision's
    sigma = float(torch.empty(()).uniform_(*SIGMA))
    image = cv2.GaussianBlur(view.permute(1, 2, 0).contiguous().numpy(), (0, 0), sigma)
    return torch.from_numpy(image).permute(2, 0, 1)

"""Two random views of an image, for contrastive pre-training."""

import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from torchvision.transforms import v2


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Two views as of MoCo v2 (Chen et al. 2020, section 3; augmentation of SimCLR).

    Crop and resize, change of colours (80 %), grey (20 %), blur (50 %), horizontal flip (50 %).

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
        # the kernel as in SimCLR, a tenth of the side, and odd
        blur = v2.GaussianBlur(2 * max(1, size // 20) + 1, sigma=(0.1, 2.0))
        colours = v2.ColorJitter(jitter, jitter, jitter, jitter / 4)
        self.view = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(least_area, 1.0)),
                v2.RandomApply([colours], p=0.8),
                v2.RandomGrayscale(p=0.2),
                v2.RandomApply([blur], p=0.5),
                v2.RandomHorizontalFlip(),
            ]
        )

    def transform(self, results: dict) -> dict:
        """Return the views of ``results['img']``; random numbers come from torch."""
        # torchvision's hue and grey are of RGB
        image = torch.from_numpy(results['img'][..., ::-1].copy()).permute(2, 0, 1)
        return dict(inputs=torch.stack([self.view(image).flip(0) for _ in range(2)]))

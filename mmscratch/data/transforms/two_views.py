"""Two random views of an image, for contrastive pre-training."""

from collections.abc import Sequence
from functools import partial

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

    Sensors' channels have no colours. With ``deviation`` each channel changes its brightness and
    contrast by itself in their place (80 %), so that the views of an image are not known by their
    histograms (Chen et al., SimCLR, ICML 2020, section 3.1). Values are not cut to a range.

    Required keys: ``img``, [H, W, 3] uint8 in the order BGR, or a sensor's, [H, W, C]. Added:
    ``inputs``, a tensor [2, C, size, size], uint8 and BGR, or a sensor's channels as float32. All
    other keys are removed.

    Args:
        size: side of the views in pixels.
        least_area: share of the image that a crop has at least; up to 1.
        jitter: of brightness, contrast and saturation; hue changes by a quarter of it.
        deviation: of each of a sensor's channels over the data, in the units of the file; None for
            colour images.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'), dict(type='TwoViews', size=128)]
    """

    def __init__(
        self,
        size: int = 192,
        least_area: float = 0.2,
        jitter: float = 0.4,
        deviation: Sequence[float] | None = None,
    ) -> None:
        self.size = size
        self.change_sensor = None
        if deviation is not None:
            spread = torch.tensor(deviation, dtype=torch.float32).view(-1, 1, 1)
            self.change_sensor = _changes(
                v2.Lambda(partial(_changed_channels, deviation=spread, jitter=jitter))
            )
        self.crop = v2.RandomResizedCrop(size, scale=(least_area, 1.0))
        colours = v2.ColorJitter(jitter, jitter, jitter, jitter / 4)
        self.change = _changes(colours, v2.RandomGrayscale(p=0.2))
        self.change_grey = _changes(v2.ColorJitter(jitter, jitter))

    def transform(self, results: dict) -> dict:
        """Return the views of ``results['img']``; random numbers come from torch."""
        image = results['img']
        if self.change_sensor:
            whole = torch.from_numpy(image).permute(2, 0, 1).float()
            views = [self.change_sensor(self.crop(whole)) for _ in range(2)]
            return dict(inputs=torch.stack(views))
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


def _changed_channels(view: Tensor, deviation: Tensor, jitter: float) -> Tensor:
    """Brightness and contrast of each channel of a view [C, H, W], as of colours.

    Contrast stretches the values from their mean. Brightness shifts them, since a sensor's 0 may
    mean nothing. The factor 1 + jitter would move ImageNet's mean by 2 * jitter deviations.
    """
    contrast, shift = torch.empty(2, len(view), 1, 1).uniform_(-jitter, jitter)
    mean = view.mean((1, 2), keepdim=True)
    return mean + (1 + contrast) * (view - mean) + 2 * shift * deviation


def _blurred(view: Tensor) -> Tensor:
    # OpenCV's takes a tenth of the time of torchvision's
    sigma = float(torch.empty(()).uniform_(*SIGMA))
    image = cv2.GaussianBlur(view.permute(1, 2, 0).contiguous().numpy(), (0, 0), sigma)
    # it drops a single channel
    return torch.from_numpy(image).view(*view.shape[1:], -1).permute(2, 0, 1)

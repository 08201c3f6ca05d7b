"""Scale images of any size by a factor, for test-time augmentation."""

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from mmscratch.data.transforms.shrink_to_fit import ShrinkToFit


@TRANSFORMS.register_module()
class ScaleFitted(ShrinkToFit):
    """Make the image `factor` times as large as ``ShrinkToFit(scale)`` would make it.

    There is one interpolation, and ``scale_factor`` is relative to the input image. A ``Resize``
    after ``ShrinkToFit`` would interpolate twice and report its own factor only. Sides are rounded
    to pixels. The ratio of the sides is kept as by ``Resize(keep_ratio=True)``.

    Args:
        scale: (long side, short side) in pixels, in either order.
        factor: above 0; above 1 the image can become larger than `scale`.

    Example:
        >>> scales = [dict(type='ScaleFitted', scale=(384, 256), factor=f) for f in (0.75, 1.25)]
    """

    def __init__(self, scale: tuple[int, int], factor: float) -> None:
        super().__init__(scale=scale)
        self.factor = factor

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        fits = min(max(self.scale) / max(height, width), min(self.scale) / min(height, width), 1.0)
        results['scale'] = (
            max(round(width * fits * self.factor), 1),
            max(round(height * fits * self.factor), 1),
        )
        Resize._resize_img(self, results)

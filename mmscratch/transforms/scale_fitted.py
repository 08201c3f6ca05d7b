"""A view of an image for test-time augmentation where images need not be of one size."""

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from mmscratch.transforms.shrink_to_fit import ShrinkToFit


@TRANSFORMS.register_module()
class ScaleFitted(ShrinkToFit):
    """Make the image `factor` times as large as ``ShrinkToFit(scale)`` would leave it.

    ``scale_factor`` among the results is relative to the image as it came in, in one interpolation;
    a ``Resize`` after ``ShrinkToFit`` would interpolate twice and report its own factor alone.
    Sides are rounded to pixels, the ratio of the sides is kept as by ``Resize(keep_ratio=True)``.

    Args:
        scale: (long side, short side) in pixels, in either order.
        factor: above 0; above 1 the view can be larger than `scale`.
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

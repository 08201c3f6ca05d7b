"""Shrink large images, and never enlarge small ones."""

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ShrinkToFit(Resize):
    """``Resize(scale, keep_ratio=True)`` for images larger than `scale`; others are not changed.

    Enlarging a small image costs time and adds no information. All result keys are as ``Resize``
    sets them. An image that fits has ``scale`` = its own (width, height) and ``scale_factor`` =
    (1, 1).

    Args:
        scale: (long side, short side) in pixels, in either order.

    Example:
        >>> test_pipeline = [dict(type='LoadImageFromFile'),
        ...                  dict(type='ShrinkToFit', scale=(384, 256))]
    """

    def __init__(self, scale: tuple[int, int]) -> None:
        super().__init__(scale=tuple(scale), keep_ratio=True)

    def _resize_img(self, results: dict) -> None:
        # transform() has just set results['scale'], which masks and maps are resized to afterwards
        height, width = results['img'].shape[:2]
        long_side, short_side = max(self.scale), min(self.scale)
        if max(height, width) <= long_side and min(height, width) <= short_side:
            results['scale'] = (width, height)
        super()._resize_img(results)

"""Sizes after resizing: a side keeps at least one pixel.

mmcv rounds the sides of a resized image to whole pixels. The short side of a very long image can
become 0, at which OpenCV fails. ``Resize``, its children and masks all ask ``rescale_size`` of
mmcv/image/geometric.py.
"""

import functools

import mmcv
import mmcv.image.geometric

_mmcv_rescale_size = mmcv.image.geometric.rescale_size


@functools.wraps(_mmcv_rescale_size)
def rescale_size(
    old_size: tuple[int, int],
    scale: float | tuple[int, int],
    return_scale: bool = False,
) -> tuple[int, int] | tuple[tuple[int, int], float]:
    """The (width, height) of the resized image in pixels as mmcv has it, each at least 1."""
    (width, height), factor = _mmcv_rescale_size(old_size, scale, return_scale=True)
    size = max(width, 1), max(height, 1)
    return (size, factor) if return_scale else size


def install() -> None:
    """Put it in mmcv's place."""
    for module in (mmcv, mmcv.image, mmcv.image.geometric):
        module.rescale_size = rescale_size

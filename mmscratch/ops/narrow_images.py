"""mmcv's resizing and flipping of images of which a side has a pixel or less.

mmcv rounds the sides of a resized image to whole pixels. The short side of a very long image can
become 0, at which OpenCV fails. ``Resize``, its children and masks all ask ``rescale_size`` of
mmcv/image/geometric.py.

mmcv's mirror image is a view with negative strides. NumPy calls it contiguous where a side has one
pixel, so that MMDetection's ``PackDetInputs`` gives it to torch as it is, which refuses it. OpenCV
makes an array of its own, which is also read faster.
"""

import functools

import cv2
import mmcv
import mmcv.image.geometric
import numpy as np

_mmcv_rescale_size = mmcv.image.geometric.rescale_size
_mmcv_imflip = mmcv.imflip


@functools.wraps(_mmcv_rescale_size)
def rescale_size(
    old_size: tuple[int, int], scale: float | tuple[int, int], return_scale: bool = False
) -> tuple[int, int] | tuple[tuple[int, int], float]:
    """The (width, height) of the resized image in pixels as mmcv has it, each at least 1."""
    (width, height), factor = _mmcv_rescale_size(old_size, scale, return_scale=True)
    size = max(width, 1), max(height, 1)
    return (size, factor) if return_scale else size


@functools.wraps(_mmcv_imflip)
def imflip(img: np.ndarray, direction: str = 'horizontal') -> np.ndarray:
    """The mirror image (H, W, C) as mmcv has it, contiguous."""
    if img.dtype == np.uint8 and img.size and (img.ndim == 2 or img.shape[2] <= 4):
        axis = dict(horizontal=1, vertical=0, diagonal=-1)[direction]
        return cv2.flip(img, axis).reshape(img.shape)
    return np.ascontiguousarray(_mmcv_imflip(img, direction))


def install() -> None:
    """Put both in the place of mmcv's."""
    for module in (mmcv, mmcv.image, mmcv.image.geometric):
        module.rescale_size, module.imflip = rescale_size, imflip

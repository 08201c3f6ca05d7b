"""Mirror images of images that are one pixel wide or high."""

import functools

import mmcv
import mmcv.image
import numpy as np

_mmcv_imflip = mmcv.imflip


@functools.wraps(_mmcv_imflip)
def imflip(img: np.ndarray, direction: str = 'horizontal') -> np.ndarray:
    """The mirror image (H, W, C) as mmcv has it; a copy where a side is one pixel.

    mmcv's is a view with negative strides. NumPy calls it contiguous where that side has one pixel,
    so that MMDetection's ``PackDetInputs`` hands it to torch as it is, which refuses it.
    """
    flipped = _mmcv_imflip(img, direction)
    return flipped.copy() if 1 in flipped.shape[:2] else flipped


def install() -> None:
    """Put it in mmcv's place."""
    for module in (mmcv, mmcv.image, mmcv.image.geometric):
        module.imflip = imflip

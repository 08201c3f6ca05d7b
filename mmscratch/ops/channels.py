"""mmcv's resizing and padding of images of one channel, and of more than four.

OpenCV drops the axis of a single channel in resizing, on which MMDetection's ``Expand`` and crops
fail. It takes no more than four channels where it shrinks by areas, or pads by a value other than
0.
"""

import functools
from typing import Any

import mmcv
import mmcv.image.geometric
import numpy as np

_mmcv_imresize = mmcv.imresize
_mmcv_impad = mmcv.impad


@functools.wraps(_mmcv_imresize)
def imresize(
    img: np.ndarray, size: tuple[int, int], return_scale: bool = False, *args: Any, **kwargs: Any
) -> Any:
    """The resized image as mmcv has it, in the form of the image; four channels at a time."""
    parts = [img] if img.ndim == 2 else np.split(img, range(4, img.shape[2], 4), axis=2)
    resized, *scales = _mmcv_imresize(parts[0], size, True, *args, **kwargs)
    if img.ndim == 3 and resized.shape[2:] != img.shape[2:]:
        more = [_mmcv_imresize(part, size, False, *args, **kwargs) for part in parts[1:]]
        resized = np.dstack([resized, *more])
    return (resized, *scales) if return_scale else resized


@functools.wraps(_mmcv_impad)
def impad(
    img: np.ndarray,
    *,
    shape: tuple[int, int] | None = None,
    pad_val: Any = 0,
    padding_mode: str = 'constant',
    **kwargs: Any,
) -> np.ndarray:
    """The padded image as mmcv has it; below and to the right by ``shape`` of any channels."""
    if shape is None or padding_mode != 'constant' or img.ndim == 2 or 1 < img.shape[2] <= 4:
        return _mmcv_impad(img, shape=shape, pad_val=pad_val, padding_mode=padding_mode, **kwargs)
    height, width = np.maximum(shape, img.shape[:2])
    padded = np.empty((height, width, img.shape[2]), img.dtype)
    padded[:] = pad_val
    padded[: img.shape[0], : img.shape[1]] = img
    return padded


def install() -> None:
    """Put both in the place of mmcv's."""
    for module in (mmcv, mmcv.image, mmcv.image.geometric):
        module.imresize, module.impad = imresize, impad

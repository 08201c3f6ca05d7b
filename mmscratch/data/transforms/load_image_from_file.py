"""Load images of any number of channels, of 8 or 16 bits or float."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import mmcv.transforms
import mmengine.fileio
import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.config import Config

from mmscratch.config.sections import type_name, walk
from mmscratch.data.image_check import ORIENTATION, TIFF_MAGIC, TURNED, needed
from mmscratch.errors import InputError

# of the values shown in pictures, darker and brighter ones are black and white
_PERCENTILES = (0.5, 99.5)
_PNG_COLOUR = 25  # where its header has the colour type; 4 and 6 have alpha
LOADER_OPTIONS = ('channels', 'dtype', 'shown')


@TRANSFORMS.register_module(force=True)
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """``LoadImageFromFile`` of mmcv, in whose place it is registered, and of sensors' images.

    Without ``channels`` it is mmcv's: three channels of 8 bits, BGR. With them ``img`` is
    [H, W, len(channels)] with the values of the file, in the order of the file, as uint8 if the
    file has that, else as float32, which holds 16 bits exactly. The formats:

    - PNG and whatever else OpenCV loads
    - TIFF, by tifffile: one page of several bands, or several pages of one form, which are channels
      in their order
    - ``.npy``: an array [H, W] or [H, W, C]
    - DICOM, by pydicom: values after the file's own modality rescaling, negative where small ones
      are bright (MONOCHROME1); frames are channels

    Args:
        channels: which ones of the file to load, from 1, in this order.
        dtype: of all files, such as ``'uint16'``; the default takes any.
        shown: three or one of the file's channels for pictures, from 1; by default the first three
            of ``channels``, or the first one where there are fewer.
        kwargs: those of mmcv's class.

    Raises:
        InputError: the file lacks a channel, has another type, or values that are not finite.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile', channels=[1, 2, 3, 4, 5]), ...]
    """

    def __init__(
        self,
        *args: Any,
        channels: Sequence[int] | None = None,
        dtype: str | None = None,
        shown: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.channels = channels and list(channels)
        self.dtype = dtype
        first = (self.channels or [])[: 3 if len(self.channels or []) >= 3 else 1]
        self.shown = list(shown or first)

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``; sets ``img``, ``img_shape`` and ``ori_shape``."""
        if self.channels is None:
            return super().transform(results)
        image = self.image(results['img_path'])
        shape = image.shape[:2]
        return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}

    def image(self, path: str | Path) -> np.ndarray:
        """The ``channels`` of a file: [H, W, C], uint8 or float32."""
        return self._of_file(path, self.channels or [])

    def picture(self, path: str | Path) -> np.ndarray:
        """The image for the eye: [H, W, 3], uint8, RGB.

        Each of the channels ``shown`` that has not 8 bits is stretched to black and white.
        """
        if self.channels is None:
            colour = mmcv.imread(str(path), channel_order='rgb')
            if colour is None:
                raise InputError(f'{path}: cannot be decoded; write it again')
            return colour
        image = self._of_file(path, self.shown)
        if image.dtype != np.uint8:
            low, high = np.percentile(image, _PERCENTILES, axis=(0, 1))
            image = (255 * (image - low) / np.maximum(high - low, 1e-12)).clip(0, 255)
        return np.broadcast_to(image.astype(np.uint8), (*image.shape[:2], 3)).copy()

    def _of_file(self, path: str | Path, channels: Sequence[int]) -> np.ndarray:
        image = read(path, mmengine.fileio.get(path, backend_args=self.backend_args))
        if self.dtype not in (None, image.dtype.name):
            raise InputError(
                f'{path}: has values of {image.dtype}, and others have {self.dtype}; convert it'
            )
        count = image.shape[2]
        if max(channels) > count:
            raise InputError(
                f'{path}: has {count} channel{"s" * (count > 1)}, and channel {max(channels)} is '
                'asked for; replace it, or choose with --channels'
            )
        image = image[..., [channel - 1 for channel in channels]]
        if image.dtype != np.uint8:
            image = image.astype(np.float32)
            if not np.isfinite(image).all():
                raise InputError(
                    f'{path}: has {np.count_nonzero(~np.isfinite(image))} values that are NaN, '
                    'infinite or beyond float32; replace them, such as by the least value'
                )
        return np.ascontiguousarray(image)


def loader_of(cfg: Config) -> LoadImageFromFile:
    """The loader of a config's images, whose ``picture`` shows them."""
    pipelines = [cfg.get(f'{split}_dataloader') for split in ('test', 'val', 'train')]
    steps = (step for step in walk(pipelines) if type_name(step) == 'LoadImageFromFile')
    kept = {key: value for key, value in next(steps, {}).items() if key in LOADER_OPTIONS}
    return LoadImageFromFile(**kept)


def read(path: str | Path, content: bytes) -> np.ndarray:
    """All channels of a file's content: [H, W, C], in the type and order of the file.

    Raises:
        InputError: it is none of the formats of :class:`LoadImageFromFile`.
    """
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        image = np.load(io.BytesIO(content), allow_pickle=False)
    elif content.startswith(TIFF_MAGIC):
        image = _tiff(path, content)
    elif content[128:132] == b'DICM':
        image = _dicom(path, content)
    else:
        # "unchanged" keeps alpha, and does not turn images as their EXIF data say
        has_alpha = content[1:4] == b'PNG' and content[_PNG_COLOUR] in (4, 6)
        flags = cv2.IMREAD_UNCHANGED if has_alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if image is None:
            raise InputError(f'{path}: cannot be decoded; write it again')
        if image.ndim == 3:  # OpenCV has blue first, and alpha last
            image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    return image if image.ndim == 3 else image[..., None]


def _tiff(path: str | Path, content: bytes) -> np.ndarray:
    # OpenCV mistakes two or more than four bands, and bands in planes of their own, without a word
    with needed('tifffile', path).TiffFile(io.BytesIO(content)) as file:
        first = file.pages[0]
        turn = first.tags.valueof(ORIENTATION, default=1)
        pages = [p for p in file.pages if (p.shape, p.dtype) == (first.shape, first.dtype)]
        arrays = [
            np.moveaxis(page.asarray(), 0, -1) if page.axes.startswith('S') else page.asarray()
            for page in pages
        ]
    image = np.dstack(arrays)
    # as OpenCV does
    if turn in TURNED:
        image = image.swapaxes(0, 1)
    across, down = turn in (2, 3, 6, 7), turn in (3, 4, 7, 8)
    return image[:: -1 if down else 1, :: -1 if across else 1]


def _dicom(path: str | Path, content: bytes) -> np.ndarray:
    pydicom = needed('pydicom', path)
    file = pydicom.dcmread(io.BytesIO(content))
    values = pydicom.pixels.apply_modality_lut(file.pixel_array, file).astype(np.float32)
    if file.PhotometricInterpretation == 'MONOCHROME1':
        values = -values
    frames = values if file.get('NumberOfFrames', 1) > 1 else values[None]
    return np.dstack(list(frames))

"""Masks of a training image that stay small until somebody asks for their pixels."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as mask_utils
from torch import Tensor

from mmscratch.data.mask_table import as_rle


class Cut(NamedTuple):
    """A bitmap within the loaded image: its pixels, uint8 [h, w], and where its corner lies."""

    pixels: np.ndarray
    x: int
    y: int


class LateMasks(BitmapMasks):
    """``BitmapMasks`` as cuts of the loaded image, with the rows and columns that are to be shown.

    Resizing to the nearest pixel, flipping, cropping, padding with 0 and indexing change the lists
    of rows, columns and cuts, and no pixel. So a worker does next to nothing for masks, and sends
    about a fiftieth of the bytes. :meth:`on` gives the masks on a device, equal to those of
    ``BitmapMasks`` to the last bit.

    Whoever reads or sets ``masks`` turns the object into ``BitmapMasks``, in place. All that is not
    overridden here does so.

    Example:
        >>> masks = LateMasks.from_segmentations([[[10, 10, 40, 10, 40, 30]]], 480, 640)
        >>> masks.rescale((1333, 800)).flip().on('cuda')  # uint8 [1, 800, 1067]
    """

    cuts: Sequence[Cut]
    rows: np.ndarray
    columns: np.ndarray
    height: int
    width: int

    @classmethod
    def from_cuts(cls, cuts: Sequence[Cut], rows: np.ndarray, columns: np.ndarray) -> 'LateMasks':
        """The masks of these cuts.

        Args:
            cuts: one a mask.
            rows: int32 [H], that of the loaded image which each row shows; -1: 0 in all masks. They
                ascend or descend, but for -1 at the end.
            columns: int32 [W], likewise.
        """
        masks = cls.__new__(cls)
        masks.cuts, masks.rows, masks.columns = cuts, rows, columns
        masks.height, masks.width = len(rows), len(columns)
        return masks

    @classmethod
    def from_segmentations(
        cls, segmentations: Sequence[list | dict], height: int, width: int
    ) -> 'LateMasks':
        """Those of polygons [x1, y1, x2, y2, ...], a list a mask, or of RLEs, in pixels."""
        cuts = []
        for segmentation in segmentations:
            rle = as_rle(segmentation, height, width)
            x, y, w, h = mask_utils.toBbox(rle).astype(int)
            pixels = mask_utils.decode(rle)[y : y + h, x : x + w]
            cuts.append(Cut(np.ascontiguousarray(pixels), x, y))
        return cls.from_cuts(cuts, *(np.arange(side, dtype=np.int32) for side in (height, width)))

    @property
    def masks(self) -> np.ndarray:
        """Uint8 [K, H, W]."""
        self.masks = self.on('cpu').numpy()
        return self.masks

    @masks.setter
    def masks(self, bitmaps: np.ndarray) -> None:
        for name in ('cuts', 'rows', 'columns'):
            self.__dict__.pop(name, None)
        self.__class__ = BitmapMasks
        self.masks = bitmaps

    def on(self, device: torch.device | str) -> Tensor:
        """The masks on a device, uint8 [K, H, W]."""
        whole = torch.zeros(len(self), self.height, self.width, dtype=torch.uint8, device=device)
        shown = list(self._shown())
        flat = [cut.pixels.reshape(-1) for cut in self.cuts]
        indices = [axis for _, _, *axes in shown for axis in axes]
        # one transfer of all cuts, one of all indices
        pixels, shows = (
            torch.from_numpy(np.concatenate(arrays)).to(device).split(list(map(len, arrays)))
            for arrays in ([np.zeros(0, np.uint8), *flat], [np.zeros(0, np.int32), *indices])
        )
        for number, (cut, (rows, columns, *_)) in enumerate(zip(self.cuts, shown)):
            part = pixels[1 + number].view(cut.pixels.shape)
            down, across = shows[1 + 2 * number : 3 + 2 * number]
            whole[number, rows, columns] = part.index_select(0, down).index_select(1, across)
        return whole

    def _shown(self) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
        """Of each mask the rows and columns that show its cut, and those of the cut in them."""
        for cut in self.cuts:
            (top, down), (left, right) = (
                _within(axis, start, size)
                for axis, start, size in zip(
                    (self.rows, self.columns), (cut.y, cut.x), cut.pixels.shape
                )
            )
            yield top, left, down, right

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, index: Any) -> 'LateMasks':
        numbers = np.arange(len(self))[index].reshape(-1)
        return self.from_cuts([self.cuts[k] for k in numbers], self.rows, self.columns)

    def __deepcopy__(self, memo: dict[int, Any]) -> 'LateMasks':
        # nothing of it ever changes; MMDetection copies all annotations for the RPN
        return self.from_cuts(self.cuts, self.rows, self.columns)

    def rescale(self, scale: Any, interpolation: str = 'nearest') -> BitmapMasks:
        """As that of ``BitmapMasks``."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> BitmapMasks:
        """As that of ``BitmapMasks``."""
        if interpolation != 'nearest':
            return super().resize(out_shape, interpolation)
        height, width = out_shape
        # OpenCV itself tells which pixel it takes
        rows = mmcv.imresize(self.rows[:, None], (1, height), interpolation='nearest')
        columns = mmcv.imresize(self.columns[None], (width, 1), interpolation='nearest')
        return self.from_cuts(self.cuts, rows.reshape(-1), columns.reshape(-1))

    def flip(self, flip_direction: str = 'horizontal') -> BitmapMasks:
        """As that of ``BitmapMasks``."""
        if -1 in (self.rows[-1], self.columns[-1]):
            return super().flip(flip_direction)
        down = -1 if flip_direction in ('vertical', 'diagonal') else 1
        across = -1 if flip_direction in ('horizontal', 'diagonal') else 1
        return self.from_cuts(self.cuts, self.rows[::down], self.columns[::across])

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> BitmapMasks:
        """As that of ``BitmapMasks``."""
        if pad_val:
            return super().pad(out_shape, pad_val)
        rows, columns = (
            np.pad(axis, (0, size - len(axis)), constant_values=-1)
            for axis, size in zip((self.rows, self.columns), out_shape)
        )
        return self.from_cuts(self.cuts, rows, columns)

    def crop(self, bbox: np.ndarray) -> BitmapMasks:
        """As that of ``BitmapMasks``."""
        x1, y1, x2, y2 = np.clip(bbox, 0, [self.width, self.height] * 2)
        rows, columns = self.rows[y1 : max(y2, y1 + 1)], self.columns[x1 : max(x2, x1 + 1)]
        return self.from_cuts(self.cuts, rows, columns)

    def get_bboxes(self, dst_type: Any = 'hbb') -> Any:
        """As that of ``BitmapMasks``: the boxes about what is to be seen, zeros if nothing is."""
        if get_box_type(dst_type)[1] is not HorizontalBoxes:
            return super().get_bboxes(dst_type)
        boxes = np.zeros((len(self), 4), np.float32)
        for box, cut, (rows, columns, down, across) in zip(list(boxes), self.cuts, self._shown()):
            xs = np.flatnonzero(np.logical_or.reduce(cut.pixels[down])[across])
            ys = np.flatnonzero(np.logical_or.reduce(cut.pixels[:, across], 1)[down])
            if len(xs):
                box[0::2] = columns.start + xs[0], columns.start + xs[-1] + 1
                box[1::2] = rows.start + ys[0], rows.start + ys[-1] + 1
        return HorizontalBoxes(boxes)


def _within(axis: np.ndarray, start: int, size: int) -> tuple[slice, np.ndarray]:
    """Where an axis shows pixels from start to start + size, and which of them it shows there."""
    places = np.flatnonzero((axis >= start) & (axis < start + size))
    where = slice(places[0], places[-1] + 1) if len(places) else slice(0, 0)
    return where, axis[where] - start

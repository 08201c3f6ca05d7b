"""An image as tiles: where they lie, and views of them for a test that merges what is found."""

from collections.abc import Iterator
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmscratch.errors import InputError

Box = tuple[int, int, int, int]  # x, y, width, height in pixels


def tiles(width: int, height: int, size: int, overlap: float) -> list[Box]:
    """The tiles of an image, row by row.

    Args:
        width: of the image in pixels.
        height: likewise.
        size: side of a tile; an image with a shorter side has tiles of that side.
        overlap: least share of a tile's side that its neighbour has too, from 0 to below 1. An
            object of up to ``size * overlap`` pixels is whole in one tile at least.
    """
    return [
        (x, y, min(size, width), min(size, height))
        for y in _starts(height, size, overlap)
        for x in _starts(width, size, overlap)
    ]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    """Evenly from 0 to the last tile, which ends with the image."""
    if length <= size:
        return [0]
    number = 1 + -(-(length - size) // max(1, int(size * (1 - overlap))))
    return [round(i * (length - size) / (number - 1)) for i in range(number)]


def check_tiles(size: int, overlap: float) -> None:
    """Raise :class:`InputError` if these make no tiles."""
    if size < 32 or not 0 <= overlap < 1:
        raise InputError(
            f'tiles of {size} pixels with overlap {overlap:g}: give 32 pixels or more, and an '
            'overlap from 0 to below 1'
        )


@TRANSFORMS.register_module()
class TileViews(BaseTransform):
    """Yield the tiles of an image as views, as ``TestTimeAug`` yields scales and flips.

    :class:`mmscratch.models.TiledModel` merges the detections. Each view has in its metainfo
    ``tile``, its (x, y, width, height) in the image, and ``whole_shape``, the image's (height,
    width).

    Args:
        size: side of a tile in pixels, before ``transforms`` resize it.
        overlap: least share of it that neighbours have in common.
        transforms: of each tile, the last one packs it.
    """

    def __init__(self, size: int, overlap: float, transforms: list[dict]) -> None:
        self.size = size
        self.overlap = overlap
        self.transforms = Compose(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, list]:
        """Cut ``img`` (H, W, C); return ``inputs`` and ``data_samples``, one of each a tile."""
        image = results['img']
        whole = image.shape[:2]
        views = []
        for tile in tiles(whole[1], whole[0], self.size, self.overlap):
            x, y, w, h = tile
            view = self.transforms(
                results
                | dict(img=image[y : y + h, x : x + w], img_shape=(h, w), ori_shape=(h, w))
                | dict(height=h, width=w)
            )
            view['data_samples'].set_metainfo(dict(tile=tile, whole_shape=whole))
            views.append(view)
        return {key: [view[key] for view in views] for key in ('inputs', 'data_samples')}


def tiled_pipeline(pipeline: list[dict], size: int, overlap: float) -> Iterator[dict]:
    """A test pipeline that yields an image as tiles, each with the rest of the pipeline.

    Annotations are not loaded: the evaluator reads those of whole images from its file.
    """
    check_tiles(size, overlap)
    load, *rest = pipeline
    yield load
    rest = [step for step in rest if not str(step['type']).endswith('Annotations')]
    yield dict(type='TileViews', size=size, overlap=overlap, transforms=rest)

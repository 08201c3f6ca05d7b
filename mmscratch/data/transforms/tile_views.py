"""An image as tiles, for a test that merges what is found on them."""

from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmscratch.data.tiles import tiles


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

"""MMDetection's ``LoadAnnotations``, whose masks stay small until they are used."""

import mmdet.datasets.transforms
from mmdet.registry import TRANSFORMS

from mmscratch.data.late_masks import LateMasks


@TRANSFORMS.register_module(force=True)
class LoadAnnotations(mmdet.datasets.transforms.LoadAnnotations):
    """``LoadAnnotations`` of MMDetection, in whose place it is registered.

    ``gt_masks`` are ``LateMasks`` in place of ``BitmapMasks`` of the same pixels.
    """

    def _load_masks(self, results: dict) -> None:
        if not self.poly2mask:
            super()._load_masks(results)
            return
        results['gt_masks'] = LateMasks.from_segmentations(
            self._process_masks(results), *results['ori_shape']
        )

"""Load annotations with keypoints."""

import numpy as np
from mmdet.registry import TRANSFORMS

from mmscratch.data.coco_keypoint_dataset import PIXEL_CENTRE
from mmscratch.data.transforms.load_annotations import LoadAnnotations


@TRANSFORMS.register_module()
class LoadKeypointAnnotations(LoadAnnotations):
    """``LoadAnnotations``, and the keypoints of ``CocoKeypointDataset``.

    Added keys:

    - ``gt_keypoints``, (N, K, 3) float32: x and y in continuous coordinates (0 is the left or upper
      border of the image), and visibility 0, 1 or 2
    - ``keypoint_frame``, (3, 3): the matrix from the original image to the image of these
      coordinates. ``PackKeypointInputs`` applies the transforms that follow.

    The arguments are those of ``LoadAnnotations``.

    Example:
        >>> train_pipeline = [dict(type='LoadImageFromFile'),
        ...                   dict(type='LoadKeypointAnnotations', with_bbox=True)]
    """

    def transform(self, results: dict) -> dict:
        """Load what the base class loads, and the keypoints."""
        results = super().transform(results)
        order = results.get('keypoint_order')
        if order is not None:
            flat = [instance['keypoints'] for instance in results.get('instances', [])]
            keypoints = np.array(flat, dtype=np.float32).reshape(-1, len(order), 3)
            keypoints[..., :2] += PIXEL_CENTRE
            results['gt_keypoints'] = keypoints
            frame = results.get('homography_matrix')
            results['keypoint_frame'] = np.eye(3) if frame is None else frame.copy()
        return results

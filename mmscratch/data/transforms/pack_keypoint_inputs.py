"""Transform keypoints like their image, and pack them."""

import numpy as np
from mmdet.registry import TRANSFORMS

from mmscratch.data.transforms.pack_det_inputs import PackDetInputs
from mmscratch.errors import InputError


@TRANSFORMS.register_module()
class PackKeypointInputs(PackDetInputs):
    """``PackDetInputs``, and ``gt_instances.keypoints`` (N, K, 3): x, y, visibility (0, 1, 2).

    MMDetection's transforms record what they do to the image in ``homography_matrix``. The packing
    applies all that was recorded since the keypoints were loaded. So Resize, RandomFlip,
    RandomChoiceResize, ShrinkToFit and RandomAffine need no version for keypoints. If the image is
    mirrored (the determinant is negative), left and right keypoints swap places by
    ``keypoint_order``. A point that is not labelled (visibility 0) is at (0, 0).

    Raises:
        InputError: a transform has removed instances, as crops do. The keypoints that are left are
            unknown then.

    Example:
        >>> train_pipeline = [..., dict(type='RandomFlip', prob=0.5),
        ...                   dict(type='PackKeypointInputs')]
    """

    mapping_table = {**PackDetInputs.mapping_table, 'gt_keypoints': 'keypoints'}

    def transform(self, results: dict) -> dict:
        """Move the keypoints and pack everything."""
        if 'gt_keypoints' in results:
            results = {**results, 'gt_keypoints': self._moved(results)}
        return super().transform(results)

    def _moved(self, results: dict) -> np.ndarray:
        keypoints = results['gt_keypoints'].copy()
        if len(keypoints) != len(results['gt_bboxes']):
            raise InputError(
                f'pipeline: {len(results["gt_bboxes"])} of {len(keypoints)} instances are left '
                f'when keypoints are packed; remove the transform that removes instances '
                '(crops, FilterAnnotations, mixing of images)'
            )
        matrix = results.get('homography_matrix')
        if matrix is not None:
            matrix = matrix @ np.linalg.inv(results['keypoint_frame'])
            homogeneous = np.concatenate([keypoints[..., :2], np.ones_like(keypoints[..., :1])], -1)
            moved = homogeneous @ matrix.T
            keypoints[..., :2] = moved[..., :2] / moved[..., 2:]
            if np.linalg.det(matrix[:2, :2]) < 0:
                keypoints = keypoints[:, results['keypoint_order']]
        keypoints[keypoints[..., 2] == 0] = 0
        return keypoints

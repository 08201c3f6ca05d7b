"""Packing of keypoints, moved to where the image has gone."""

import numpy as np
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS

from mmscratch.errors import InputError


@TRANSFORMS.register_module()
class PackKeypointInputs(PackDetInputs):
    """``PackDetInputs``, and ``gt_instances.keypoints`` (N, K, 3): x, y, visibility (0, 1, 2).

    x and y are moved by all that MMDetection's transforms did to the image since the keypoints were
    loaded, which they record in ``homography_matrix``: Resize, RandomFlip, RandomChoiceResize,
    ShrinkToFit and RandomAffine need no twin that knows keypoints. Where the image is mirrored
    (the determinant is negative), left and right keypoints swap places by ``keypoint_order``. A
    point that is not labelled (visibility 0) is at (0, 0).

    Raises :class:`InputError` if a transform has left out instances, as crops do: it cannot be told
    whose keypoints are left.
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
                f'when keypoints are packed; take out the transform that leaves out instances '
                f'(crops, FilterAnnotations, mixing of images)'
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

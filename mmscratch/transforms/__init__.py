"""Data transforms: resizing that never enlarges, keypoints."""

from mmscratch.transforms.load_keypoint_annotations import LoadKeypointAnnotations
from mmscratch.transforms.pack_keypoint_inputs import PackKeypointInputs
from mmscratch.transforms.scale_fitted import ScaleFitted
from mmscratch.transforms.shrink_to_fit import ShrinkToFit

__all__ = ['LoadKeypointAnnotations', 'PackKeypointInputs', 'ScaleFitted', 'ShrinkToFit']

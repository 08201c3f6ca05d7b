"""Data transforms: resizing that never enlarges, keypoints.

Importing them mends mmcv's own for images of which a side has a pixel or less after resizing.
"""

from mmscratch.ops import narrow_images
from mmscratch.transforms.load_keypoint_annotations import LoadKeypointAnnotations
from mmscratch.transforms.pack_keypoint_inputs import PackKeypointInputs
from mmscratch.transforms.scale_fitted import ScaleFitted
from mmscratch.transforms.shrink_to_fit import ShrinkToFit

narrow_images.install()

__all__ = ['LoadKeypointAnnotations', 'PackKeypointInputs', 'ScaleFitted', 'ShrinkToFit']

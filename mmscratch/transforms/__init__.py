"""Data transforms: resizing that never enlarges, keypoints.

The import also corrects mmcv's transforms for images with a side of at most one pixel after
resizing.
"""

from mmscratch.ops import narrow_images
from mmscratch.transforms.load_keypoint_annotations import LoadKeypointAnnotations
from mmscratch.transforms.pack_keypoint_inputs import PackKeypointInputs
from mmscratch.transforms.scale_fitted import ScaleFitted
from mmscratch.transforms.shrink_to_fit import ShrinkToFit

narrow_images.install()

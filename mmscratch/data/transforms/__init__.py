"""Data transforms: resizing that never enlarges or grows, tiles, keypoints; faster forms.

``LoadImageFromFile``, ``LoadAnnotations`` and ``PackDetInputs`` are registered in place of mmcv's
and MMDetection's. The import also corrects mmcv's transforms for images with a side of at most one
pixel after resizing, and with another number of channels than three.
"""

from mmscratch.data.transforms.load_annotations import LoadAnnotations
from mmscratch.data.transforms.load_image_from_file import LoadImageFromFile
from mmscratch.data.transforms.load_keypoint_annotations import LoadKeypointAnnotations
from mmscratch.data.transforms.pack_det_inputs import PackDetInputs
from mmscratch.data.transforms.pack_keypoint_inputs import PackKeypointInputs
from mmscratch.data.transforms.progressive_resize import ProgressiveResize
from mmscratch.data.transforms.scale_fitted import ScaleFitted
from mmscratch.data.transforms.shrink_to_fit import ShrinkToFit
from mmscratch.data.transforms.tile_views import TileViews
from mmscratch.data.transforms.two_views import TwoViews
from mmscratch.ops import channels, narrow_images

channels.install()
narrow_images.install()

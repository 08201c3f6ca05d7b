"""Detectors and their parts, registered in MMDetection's registry."""

from mmscratch.models.detectron_tta import DetectronTTAModel
from mmscratch.models.keypoint_head import KeypointRCNNHead
from mmscratch.models.keypoint_roi_head import KeypointRoIHead
from mmscratch.models.single_mask_cascade_roi_head import SingleMaskCascadeRoIHead
from mmscratch.models.vgg import VGG

__all__ = [
    'VGG',
    'DetectronTTAModel',
    'KeypointRCNNHead',
    'KeypointRoIHead',
    'SingleMaskCascadeRoIHead',
]

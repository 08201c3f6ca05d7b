"""Metrics, registered in MMDetection's registry."""

from mmscratch.evaluation.coco_keypoint_metric import CocoKeypointMetric
from mmscratch.evaluation.full_coco_metric import FullCocoMetric

__all__ = ['CocoKeypointMetric', 'FullCocoMetric']

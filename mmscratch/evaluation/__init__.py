"""Detections of images; pseudo labels; metrics; kinds of errors; whether a run still learns."""

from mmscratch.evaluation.accuracy_metric import AccuracyMetric
from mmscratch.evaluation.coco_keypoint_metric import CocoKeypointMetric
from mmscratch.evaluation.full_coco_metric import FullCocoMetric

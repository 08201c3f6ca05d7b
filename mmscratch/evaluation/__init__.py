"""Detections of images; pseudo labels; metrics; kinds of errors; does a run still learn?"""

from mmscratch.evaluation.accuracy_metric import AccuracyMetric
from mmscratch.evaluation.coco_keypoint_metric import CocoKeypointMetric
from mmscratch.evaluation.full_coco_metric import FullCocoMetric

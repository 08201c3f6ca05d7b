"""Metrics: COCO's numbers of boxes, masks, keypoints; accuracy; kinds of errors; still learning?"""

from mmscratch.evaluation.accuracy_metric import AccuracyMetric
from mmscratch.evaluation.coco_keypoint_metric import CocoKeypointMetric
from mmscratch.evaluation.full_coco_metric import FullCocoMetric

"""Metrics, registered in MMDetection's registry."""

from mmscratch.evaluation.full_coco_metric import FullCocoMetric

__all__ = ['FullCocoMetric']

"""Curves, pictures, reports."""

from mmscratch.visualization.curves import draw_curves
from mmscratch.visualization.keypoint_visualizer import KeypointVisualizer

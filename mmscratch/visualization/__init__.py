"""Curves, pictures and reports of runs; the check of a folder of data, with its page."""

from mmscratch.visualization.curves import draw_curves
from mmscratch.visualization.keypoint_visualizer import KeypointVisualizer

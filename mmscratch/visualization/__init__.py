"""Curves, pictures, reports."""

from mmscratch.visualization.curves import draw_curves, read_scalars
from mmscratch.visualization.keypoint_visualizer import KeypointVisualizer

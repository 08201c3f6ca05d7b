"""Drawing what a run leaves."""

from mmscratch.visualization.curves import draw_curves, read_scalars
from mmscratch.visualization.keypoint_visualizer import KeypointVisualizer

__all__ = ['KeypointVisualizer', 'draw_curves', 'read_scalars']

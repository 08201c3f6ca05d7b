"""Drawing what a run leaves."""

from mmscratch.visualization.curves import draw_curves, read_scalars

__all__ = ['draw_curves', 'read_scalars']

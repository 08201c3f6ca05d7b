"""Pictures with keypoints."""

import colorsys

import cv2
import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData


@VISUALIZERS.register_module()
class KeypointVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` that draws ``keypoints`` too, one colour for each of the K.

    Drawn are labelled ones of the ground truth, and predicted ones from a score of
    ``keypoint_score_thr``.

    Args:
        keypoint_score_thr: above 0 and under 1.
        radius: of a keypoint, in pixels.
        kwargs: those of ``DetLocalVisualizer``.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        keypoint_score_thr: float = 0.05,
        radius: int = 4,
        **kwargs: object,
    ) -> None:
        super().__init__(name, **kwargs)
        self.keypoint_score_thr = keypoint_score_thr
        self.radius = radius

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        drawn = super()._draw_instances(image, instances, classes, palette)
        if 'keypoints' not in instances or not len(instances):
            return drawn
        # by OpenCV: matplotlib, which draws the boxes, moves the image for a circle at its border
        drawn = np.ascontiguousarray(drawn)
        for points in instances.keypoints.tolist():
            for (x, y, shown), colour in zip(points, _hues(len(points))):
                # the third number is visibility (1 or 2) or score
                if shown >= self.keypoint_score_thr:
                    centre = int(x), int(y)
                    cv2.circle(drawn, centre, self.radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
                    cv2.circle(drawn, centre, self.radius, colour, -1, cv2.LINE_AA)
        self.set_image(drawn)
        return drawn


def _hues(count: int) -> list[tuple[float, ...]]:
    """`count` RGB colours, 0..255, around the circle of hues."""
    return [
        tuple(255 * channel for channel in colorsys.hsv_to_rgb(k / count, 1, 1))
        for k in range(count)
    ]

"""Pictures of boxes, masks and keypoints."""

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures.mask import BaseInstanceMasks, mask2bbox
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils

FONT = cv2.FONT_HERSHEY_SIMPLEX
Colour = tuple[int, int, int]
Place = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels
GAP = 8  # pixels between ground truth and detections


def side_by_side(
    visualizer: DetLocalVisualizer,
    image: np.ndarray,
    sides: Sequence[InstanceData],
    classes: Sequence[str],
    palette: Sequence[Colour] | None,
) -> np.ndarray:
    """An image (H, W, 3) once for each of these objects, with white between: blue first."""
    gap = np.full_like(image, 255)[:, :GAP]
    drawn = [visualizer._draw_instances(image, each, classes, palette) for each in sides]
    parts = [part for each in drawn for part in (gap, each)]
    return np.hstack(parts[1:])[..., ::-1]


@VISUALIZERS.register_module()
class KeypointVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` that draws keypoints too, and hides less of the image.

    Masks are transparent and have an outline. Box, mask and label have the colour of their class,
    the same in every picture. A label stands beside its box, where it covers the least of other
    objects and labels. Each of the K keypoints has its own colour. It is drawn if it is labelled in
    the ground truth, or predicted with a score of at least ``keypoint_score_thr``.

    Args:
        keypoint_score_thr: above 0 and under 1.
        radius: of a keypoint, in pixels.
        line_width: of boxes and outlines, in pixels.
        alpha: opacity of the masks, from 0 to 1.
        kwargs: those of ``DetLocalVisualizer``. ``text_color`` has no effect: labels are black or
            white, whichever their class's colour shows better.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        keypoint_score_thr: float = 0.05,
        radius: int = 3,
        line_width: int = 2,
        alpha: float = 0.25,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, line_width=line_width, alpha=alpha, **kwargs)
        self.keypoint_score_thr = keypoint_score_thr
        self.radius = radius

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: list[Colour] | None,
    ) -> np.ndarray:
        # not by matplotlib, as the parent: it moves the image for what crosses the border
        drawn = np.array(image, order='C')
        labels = instances.labels.tolist()
        count = max(labels, default=0) + 1
        if 'masks' in instances:
            colours = _colours(self.mask_color or palette, count)
            masks = instances.masks
            # RLE, of large images: one bitmap at a time
            runs = isinstance(masks, list)
            each = (mask_utils.decode(rle) > 0 for rle in masks) if runs else bitmaps(masks)
            for label, mask in zip(labels, each):
                self._draw_mask(drawn, mask, colours[label])
        colours = _colours(self.bbox_color or palette, count)
        # SOLO and its like have masks alone, with boxes of zeros
        has_boxes = 'bboxes' in instances and bool(instances.bboxes.any())
        if has_boxes:
            places = instances.bboxes.round().int().tolist()
            for label, (x1, y1, x2, y2) in zip(labels, places):
                cv2.rectangle(drawn, (x1, y1), (x2, y2), colours[label], self.line_width)
        elif 'masks' in instances:
            places = mask2bbox(torch.from_numpy(bitmaps(instances.masks))).int().tolist()
        else:
            places = []
        names = instances.get('label_names') or [
            classes[label] if classes else f'class {label}' for label in labels
        ]
        if 'scores' in instances:
            names = [f'{n} {100 * score:.0f}' for n, score in zip(names, instances.scores.tolist())]
        taken = list(places)
        for place, name, label in zip(places, names, labels):
            # two labels on each other are worse than a label on another object
            taken += 5 * [_draw_label(drawn, place, name, colours[label], taken)]
        for points in instances.keypoints.tolist() if 'keypoints' in instances else ():
            self._draw_keypoints(drawn, points)
        self.set_image(drawn)
        return drawn

    def _draw_mask(self, drawn: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
        drawn[mask] = (1 - self.alpha) * drawn[mask] + self.alpha * np.array(colour)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour, self.line_width)

    def _draw_keypoints(self, drawn: np.ndarray, points: list[list[float]]) -> None:
        for k, (x, y, shown) in enumerate(points):
            # the third number is visibility (1 or 2) or score
            if shown >= self.keypoint_score_thr:
                red, green, blue = colorsys.hsv_to_rgb(k / len(points), 1, 1)
                colour, centre = (255 * red, 255 * green, 255 * blue), (int(x), int(y))
                cv2.circle(drawn, centre, self.radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(drawn, centre, self.radius, colour, -1, cv2.LINE_AA)


def bitmaps(masks: BaseInstanceMasks | torch.Tensor) -> np.ndarray:
    """The masks [N, H, W], bool, of ground truth or of predictions."""
    array = masks.to_ndarray() if isinstance(masks, BaseInstanceMasks) else masks.numpy()
    return array.astype(bool)


def _colours(palette: Any, count: int) -> list[Colour]:
    return [(int(r), int(g), int(b)) for r, g, b in get_palette(palette, count)]


def _draw_label(
    drawn: np.ndarray, box: Place, text: str, colour: Colour, taken: list[Place]
) -> Place:
    """Write the text beside the box, where it covers the least of what is taken; say where."""
    height, width = drawn.shape[:2]
    scale = min(max(min(height, width) / 1000, 0.4), 0.8)
    (w, h), below_line = cv2.getTextSize(text, FONT, scale, 1)
    w, h = w + 2, h + below_line
    x1, y1, x2, y2 = box
    corners = [(x1, y1 - h), (x1, y2), (x2 - w, y1 - h), (x2 - w, y2), (x2, y1), (x1 - w, y1)]
    inside = [(max(min(x, width - w), 0), max(min(y, height - h), 0)) for x, y in corners]
    best = min(((x, y, x + w, y + h) for x, y in inside), key=lambda p: _covered(p, taken))
    cv2.rectangle(drawn, best[:2], (best[2] - 1, best[3] - 1), colour, -1)
    red, green, blue = colour
    ink = (0, 0, 0) if 0.3 * red + 0.6 * green + 0.1 * blue > 110 else (255, 255, 255)
    cv2.putText(drawn, text, (best[0] + 1, best[3] - below_line), FONT, scale, ink, 1, cv2.LINE_AA)
    return best


def _covered(place: Place, others: list[Place]) -> int:
    """The area, in pixels, that a place shares with the others."""
    x1, y1, x2, y2 = np.array(others).T
    widths = np.minimum(x2, place[2]) - np.maximum(x1, place[0])
    heights = np.minimum(y2, place[3]) - np.maximum(y1, place[1])
    return int((widths.clip(min=0) * heights.clip(min=0)).sum())

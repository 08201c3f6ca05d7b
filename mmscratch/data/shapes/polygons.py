"""Polygons and masks in integers: the same result on every machine.

Coordinates: x to the right, y down, pixel ``i`` covers ``[i, i + 1)``, as in COCO. Vertices are in
1/256 pixel (``SUBPIXEL``) where polygons are filled, in half pixels where masks are outlined.
"""

import itertools
import math
from collections.abc import Iterable

import numpy as np

SUBPIXEL = 256  # units a pixel
TURN = 1440  # angle steps a turn
TRIG_SHIFT = 14  # sines are scaled by 2**14

# In pixels. `simplify` keeps the ends of a region that is at most TIP wide, and square corners
# between edges of at least SQUARE. `to_polygons` does not simplify a region of at most SPECK.
TIP = 2
SQUARE = 4
SPECK = 64
SINE = np.array(
    [round(math.sin(2 * math.pi * k / TURN) * 2**TRIG_SHIFT) for k in range(TURN)], dtype=np.int64
)


def rotate(x: np.ndarray, y: np.ndarray, angle: int) -> np.ndarray:
    """Turn points clockwise on the screen.

    Args:
        x, y: (N,) int64.
        angle: In steps of 1/1440 turn.

    Returns:
        (N, 2), scaled by ``2**TRIG_SHIFT``.
    """
    cos, sin = cos_sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)


def cos_sin(angle: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Look up cosine and sine, scaled by ``2**TRIG_SHIFT``, of an angle in 1/1440 turn."""
    return SINE[(angle + TURN // 4) % TURN], SINE[angle % TURN]


def rasterize(loops: Iterable[np.ndarray]) -> tuple[np.ndarray, int, int]:
    """Rasterize closed polygons by the even-odd rule: a pixel is set if its centre lies inside.

    Args:
        loops: (N, 2) int64 vertices each, in 1/256 pixel.

    Returns:
        Boolean mask (h, w), and the image column and row of its top left pixel.
    """
    loops = list(loops)
    start = np.concatenate(loops)
    end = np.concatenate([np.roll(loop, -1, axis=0) for loop in loops])
    left, top = (start.min(axis=0) // SUBPIXEL).tolist()
    right, bottom = (start.max(axis=0) // SUBPIXEL + 1).tolist()
    upward = (start[:, 1] > end[:, 1])[:, None]
    x0, y0 = np.where(upward, end, start).T[:, :, None]
    x1, y1 = np.where(upward, start, end).T[:, :, None]
    centre = np.arange(top, bottom, dtype=np.int64) * SUBPIXEL + SUBPIXEL // 2
    edge, row = np.nonzero((y0 <= centre) & (centre < y1))  # half open: a vertex counts once
    x0, y0, dx, dy = (v[edge, 0] for v in (x0, y0, x1 - x0, y1 - y0))
    # The first column whose centre is at or right of the crossing, by exact ceiling division.
    crossing = x0 * dy + (centre[row] - y0) * dx
    column = -((dy * (SUBPIXEL // 2) - crossing) // (dy * SUBPIXEL))
    height, width = bottom - top, right - left
    flips = np.bincount(row * (width + 1) + column - left, minlength=height * (width + 1))
    inside = np.cumsum(flips.reshape(height, width + 1)[:, :width], axis=1) & 1
    return inside.astype(bool), left, top


def trace(mask: np.ndarray) -> list[np.ndarray]:
    """Follow the cracks between a mask's pixels and its surroundings.

    Returns:
        Closed loops, each the (N, 2) int64 corners (x, y) in pixels: clockwise about a 4-connected
        region, anticlockwise about a hole.
    """
    padded = np.pad(mask, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    ys, xs = np.nonzero(~(((a == b) & (c == d)) | ((a == c) & (b == d))))  # corners, row by row
    a, b, c, d = (v[ys, xs] for v in (a, b, c, d))
    # Which ways (right, down, left, up) lead out of a corner with the region on the right hand.
    ways = np.stack([d > b, c > d, a > c, b > a], axis=1).tolist()
    by_column = np.lexsort((ys, xs))
    place = np.argsort(by_column).tolist()
    by_column = by_column.tolist()
    points = list(zip(xs.tolist(), ys.tolist()))
    left = {(corner, way): None for corner, row in enumerate(ways) for way in range(4) if row[way]}
    loops = []
    while left:
        loop, (corner, way) = [], next(iter(left))
        while (corner, way) in left:
            del left[corner, way]
            loop.append(points[corner])
            # Between two corners of a row or column there is nothing but straight crack.
            if way % 2 == 0:
                corner += 1 - way
            else:
                corner = by_column[place[corner] + 2 - way]
            turn_right = (way + 1) % 4  # where regions touch at a corner, keeps them apart
            way = turn_right if ways[corner][turn_right] else (way - 1) % 4
        loops.append(np.array(loop, dtype=np.int64))
    return loops


def twice_area(loop: np.ndarray) -> int:
    """Twice the enclosed area of (N, 2) vertices, positive if clockwise on the screen."""
    x, y = loop.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Outline a mask as `trace` does, after cutting through each hole."""
    loops = trace(mask)
    hole = next((loop for loop in loops if twice_area(loop) < 0), None)
    if hole is None:
        return loops
    cut = int(hole[:, 0].min() + hole[:, 0].max()) // 2
    return outlines(mask[:, :cut]) + [loop + (cut, 0) for loop in outlines(mask[:, cut:])]


def simplify(loop: np.ndarray) -> np.ndarray:
    """Replace a staircase by few straight lines, each at most 1/2 pixel from what it replaces.

    The midpoints of the loop's cracks lie on both sides of the true outline. Douglas and Peucker's
    algorithm thins them.

    Args:
        loop: (N, 2) corners from `trace`, in pixels.

    Returns:
        (M, 2) vertices in half pixels.
    """
    step = np.roll(loop, -1, axis=0) - loop
    way, length = np.sign(step), abs(step).sum(axis=1)
    right_turn = way[:, 1] * np.roll(way[:, 0], 1) - way[:, 0] * np.roll(way[:, 1], 1) > 0
    tip = right_turn & np.roll(right_turn, -1) & (length <= TIP)
    square = np.minimum(length, np.roll(length, 1)) >= SQUARE
    exact = tip | np.roll(tip, 1) | square
    first = loop * 2 + np.where(exact[:, None], 0, way)
    last = (loop + step) * 2 - np.where(np.roll(exact, -1)[:, None], 0, way)
    points = np.stack([first, last], axis=1).reshape(-1, 2)
    new = (points != np.roll(points, 1, axis=0)).any(axis=1)
    points, keep = points[new], np.stack([exact, np.roll(exact, -1)], axis=1).ravel()[new]
    keep[0] = keep[((points - points[0]) ** 2).sum(axis=1).argmax()] = True
    closed = points.tolist()
    closed.append(closed[0])
    tasks = list(itertools.pairwise([*np.flatnonzero(keep).tolist(), len(points)]))
    while tasks:
        start, stop = tasks.pop()
        split = _farthest(closed, start, stop)
        if split is not None:
            keep[split] = True
            tasks += [(start, split), (split, stop)]
    return points[keep]


def _farthest(points: list[list[int]], start: int, stop: int) -> int | None:
    """The point between two that is farthest from their line, None if it is at most 1 away.

    Points are lists of integers: the spans are so short that NumPy takes five times as long.
    """
    if stop - start < 2:
        return None
    (x0, y0), (x1, y1) = points[start], points[stop]
    dx, dy = x1 - x0, y1 - y0
    if dx or dy:
        off = [abs((x - x0) * dy - (y - y0) * dx) for x, y in points[start + 1 : stop]]
    else:  # where a region touches itself
        off = [(x - x0) ** 2 + (y - y0) ** 2 for x, y in points[start + 1 : stop]]
    worst = max(off)
    return start + 1 + off.index(worst) if worst * worst > dx * dx + dy * dy else None


def to_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Outline a mask by polygons without holes that nearly fill it again.

    Returns:
        (N, 2) vertices each, in half pixels.
    """
    return [simplify(loop) if twice_area(loop) > 2 * SPECK else loop * 2 for loop in outlines(mask)]

import math

import numpy as np
import pycocotools.mask
import pytest

from mmscratch.data.shapes.polygons import (
    SINE,
    SUBPIXEL,
    TRIG_SHIFT,
    TURN,
    outlines,
    rasterize,
    simplify,
    to_polygons,
    trace,
    twice_area,
)


def draw(*rows: str) -> np.ndarray:
    return np.array([[c == '#' for c in row] for row in rows])


def pixels(*points: tuple[float, float]) -> np.ndarray:
    return np.array([[round(v * SUBPIXEL) for v in p] for p in points], dtype=np.int64)


def refill(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """COCO's own rasteriser, on polygons in half pixels."""
    flat = [(p / 2).ravel().tolist() for p in polygons]
    rles = pycocotools.mask.frPyObjects(flat, *shape)
    return pycocotools.mask.decode(pycocotools.mask.merge(rles)).astype(bool)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_sines_round_alike_whatever_the_maths_library():
    exact = [math.sin(2 * math.pi * k / TURN) * 2**TRIG_SHIFT for k in range(TURN)]
    from_tie = [abs(v - math.floor(v) - 0.5) for v in exact]
    assert min(from_tie) > 1e-5  # libraries differ by some 1e-12
    assert SINE[[0, TURN // 12, TURN // 4, TURN // 2, 3 * TURN // 4]].tolist() == [
        0, 2**13, 2**14, 0, -(2**14)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('loops', 'left_top', 'rows'),
    [
        # Whole pixels, one of them left of and above the image.
        ([pixels((-1, -1), (1, -1), (1, 1), (-1, 1))], (-1, -1), ['##', '##']),
        # A pixel is in if its centre is: 0.4 is left of the first centre, 2.6 right of the third.
        ([pixels((0.4, 0), (2.6, 0), (2.6, 1), (0.4, 1))], (0, 0), ['###']),
        ([pixels((0.6, 0), (2.4, 0), (2.4, 1), (0.6, 1))], (0, 0), ['.#.']),
        # The diagonal runs through the centres: these belong to one side, here the right one.
        ([pixels((0, 0), (3, 0), (3, 3))], (0, 0), ['###', '.##', '..#']),
        ([pixels((0, 0), (3, 3), (0, 3))], (0, 0), ['...', '#..', '##.']),
        # A hole by the even-odd rule.
        (
            [
                pixels((0, 0), (4, 0), (4, 3), (0, 3)),
                pixels((1, 1), (3, 1), (3, 2), (1, 2)),
            ],
            (0, 0),
            ['####', '#..#', '####'],
        ),
    ],
)
def test_fill(loops, left_top, rows):
    mask, left, top = rasterize(loops)
    assert (left, top) == left_top
    expected = draw(*rows)
    assert (mask[: expected.shape[0], : expected.shape[1]] == expected).all()
    assert mask.sum() == expected.sum()


def test_trace_a_pixel():
    (loop,) = trace(draw('..', '.#'))
    assert loop.tolist() == [[1, 1], [2, 1], [2, 2], [1, 2]]
    assert twice_area(loop) == 2


def test_trace_keeps_diagonal_pixels_apart_and_turns_about_holes():
    assert [twice_area(loop) for loop in trace(draw('#.', '.#'))] == [2, 2]
    assert [twice_area(loop) for loop in trace(draw('.#', '#.'))] == [2, 2]
    assert [twice_area(loop) for loop in trace(draw('###', '#.#', '###'))] == [18, -2]
    assert trace(draw('...')) == []


def test_outlines_cut_through_holes():
    loops = outlines(draw('#####', '#.#.#', '#####'))
    assert all(twice_area(loop) > 0 for loop in loops)
    assert sum(twice_area(loop) for loop in loops) == 2 * 13


def test_outlines_are_exact_on_any_mask():
    rng = np.random.RandomState(0)
    for density in (0.2, 0.5, 0.8):
        mask = rng.rand(12, 15) < density
        loops = outlines(mask)
        assert sum(twice_area(loop) for loop in loops) == 2 * mask.sum()
        assert (refill([loop * 2 for loop in loops], mask.shape) == mask).all()


def test_simplify_takes_a_slanted_square_to_few_points_in_place():
    corners = pixels((30.3, 2.2), (58.1, 30.4), (29.8, 57.9), (2.4, 29.7))
    mask, _, _ = rasterize([corners])
    (loop,) = trace(mask)
    simple = simplify(loop)
    assert len(simple) <= 16 < len(loop) / 4
    assert iou(refill([simple], mask.shape), mask) > 0.98
    assert twice_area(simple) / 8 == pytest.approx(mask.sum(), rel=0.03)


def test_polygons_keep_a_bay_whose_mouth_is_closed_by_a_corner():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:18, 2:18] = True
    mask[4:14, 4:14] = False  # a hole, but for the corner of one pixel
    mask[3, 3] = mask[2, 2] = False
    assert (refill(to_polygons(mask), mask.shape) == mask).all()


def test_polygons_keep_needles_and_specks():
    mask = draw('#..........', '#########..', '..........#', '#..........')
    assert (refill(to_polygons(mask), mask.shape) == mask).all()
    needle, _, _ = rasterize([pixels((0, 0), (40, 7), (40, 9))])
    again = refill(to_polygons(needle), needle.shape)
    assert iou(again, needle) > 0.9
    assert (again.any(axis=0) == needle.any(axis=0)).all()

"""What counts as a mask; compressed RLEs are compared with those that pycocotools writes."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mmscratch.data.mask_table import MaskTable
from mmscratch.errors import InputError

IMAGES = [{'id': 1, 'height': 40, 'width': 30}]
TRIANGLE = [1, 1, 9, 1, 9, 9]


def table(*segmentations) -> MaskTable:
    rows = [
        {'id': number, 'image_id': 1, 'segmentation': segmentation}
        for number, segmentation in enumerate(segmentations, 1)
    ]
    return MaskTable(IMAGES, rows, 'a.json')


def rle(counts, size=(40, 30)) -> dict:
    return {'size': list(size), 'counts': counts}


def test_which_masks_there_are():
    masks = table([TRIANGLE], [], [[]], [[1, 2]], [[1, 1, 5, 5], TRIANGLE], rle([0, 1200]), None)
    assert masks.given.tolist() == [True, False, True, True, True, True, False]
    assert masks.usable.tolist() == [True, False, False, False, True, True, False]
    assert masks.short.tolist() == [False, False, True, True, True, False, False]
    assert masks.rle.tolist() == [False] * 5 + [True, False]
    assert masks.notes() == [
        '3 masks have polygons without 3 points: MMDetection leaves those out, and with them 2 '
        'masks that have no other polygon'
    ]


def test_masks_that_pycocotools_writes_are_sound():
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.3, 0.7, 0.99, 1):
        for _ in range(20):
            pixels = (rng.random((40, 30)) < share).astype(np.uint8, order='F')
            pixels[5:30, 4:20] = rng.integers(2)
            counts = mask_utils.encode(pixels)['counts'].decode()
            flat = pixels.ravel(order='F')
            changes = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
            runs = np.diff([0, *changes, flat.size]).tolist()
            assert table(rle(counts), rle(runs)).usable.all()
            with pytest.raises(InputError, match='another length'):
                table(rle(counts[:-1]))


@pytest.mark.parametrize(
    'counts',
    [[10, 20], [0, 1201], [1200, 1], [], [-5, 1205], [1.0, 1199.0], ['1200'], [2**40, 5], ''],
)
def test_runs_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(InputError, match=r'1 RLEs have runs of another length.*annotation 2'):
        table([TRIANGLE], rle(counts))


@pytest.mark.parametrize('counts', ['é', '\ud83d', 'ooooooooooooooooo', ' ', '\0', '0' * 9])
def test_texts_that_are_no_runs_are_refused(counts):
    with pytest.raises(InputError, match='another length'):
        table(rle(counts))


@pytest.mark.parametrize(
    'value', [[1, 1, 5, 1, 5, 5], 'x', [['a'] * 6], rle([0, 1200], (30, 40)), {'counts': [1200]}]
)
def test_other_forms_are_refused(value):
    with pytest.raises(InputError, match=r'1 segmentations are neither.*annotation 1'):
        table(value)


@pytest.mark.parametrize('far', [1e9, -1e9, float('inf')])
def test_points_far_away_are_refused(far):
    with pytest.raises(InputError, match='100,000 pixels away, the first is that of annotation 1'):
        table([[1, 1, far, 1, 9, 9]])


@pytest.mark.parametrize(
    ('segmentation', 'empty', 'normalised'),
    [
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.4]], True, True),
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9]], True, True),
        ([[0, 0, 1, 0, 1, 1, 0, 1]], True, True),
        ([[5, 5] * 4], True, False),
        ([[5, 5, 10, 10, 20, 20]], True, False),
        ([[50, 5, 60, 5, 60, 20]], True, False),
        (rle([1200]), True, False),
        (rle([700, 0, 500]), True, False),
        ([[50, 5, 60, 5, 60, 20], TRIANGLE], False, False),
        ([[20, 5, 60, 5, 60, 20]], False, False),
        # small ones that cover a pixel all the same
        ([[5.3, 5.3, 6.3, 5.3, 6.3, 6.3, 5.3, 6.3]], False, False),
        ([[1, 0, 2, 0, 2, 1, 1, 1]], False, False),
        (rle([700, 1, 499]), False, False),
    ],
)
def test_masks_without_a_pixel_are_told(segmentation, empty, normalised):
    masks = table([TRIANGLE], segmentation)
    assert masks.usable.all()
    assert masks.empty.tolist() == [False, empty]
    assert masks.normalised.tolist() == [False, normalised]
    assert any('WARNING: 1 of 2 masks cover no pixel' in note for note in masks.notes()) == empty
    assert any('1 of them lie within 0..1' in note for note in masks.notes()) == normalised

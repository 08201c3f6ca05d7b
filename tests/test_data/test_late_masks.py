"""LateMasks beside BitmapMasks of the same objects."""

import copy
import pickle

import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as mask_utils

from mmscratch.data.late_masks import LateMasks

SIZE = HEIGHT, WIDTH = 60, 90


def objects(random):
    """Segmentations of all kinds, some of them outside the image, and their bitmaps."""
    polygons = [random.uniform(-20, 110, (random.integers(3, 9), 2)) for _ in range(6)]
    bitmaps = np.asfortranarray(random.random((*SIZE, 2)) > 0.7, np.uint8)
    compressed, other = mask_utils.encode(bitmaps)
    # the columns one after the other, in runs
    runs = np.diff(np.flatnonzero(np.diff(bitmaps[..., 1].ravel('F'), prepend=2, append=2)))
    counts = runs.tolist() if not bitmaps[0, 0, 1] else [0, *runs.tolist()]
    parts = [
        *([polygon.ravel()] for polygon in polygons[:4]),
        [polygon.ravel() for polygon in polygons[4:]],
        [np.array([200.0, 10, 220, 10, 220, 30])],
        [np.zeros(6)],
        compressed,
        dict(size=list(SIZE), counts=counts),
    ]
    expected = [
        mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(part, *SIZE)))
        for part in parts[:-2]
    ]
    expected += [mask_utils.decode(compressed), mask_utils.decode(other)]
    return parts, np.stack(expected)


def both(seed=0):
    parts, bitmaps = objects(np.random.default_rng(seed))
    return LateMasks.from_segmentations(parts, *SIZE), BitmapMasks(bitmaps, *SIZE)


def assert_equal(late, masks):
    assert type(late) is LateMasks
    assert (late.height, late.width, len(late)) == (masks.height, masks.width, len(masks))
    boxes, expected = (m.get_bboxes(HorizontalBoxes).tensor for m in (late, masks))
    assert boxes.equal(expected)
    whole = copy.deepcopy(late)
    assert whole.masks.dtype == np.uint8
    np.testing.assert_array_equal(whole.masks, masks.masks)
    assert type(whole) is BitmapMasks
    assert type(late) is LateMasks


def change(masks, random):
    """The same random change of masks of either kind."""
    height, width = masks.height, masks.width
    kind = random.integers(6)
    if kind == 0:
        return masks.rescale((int(random.integers(5, 200)), int(random.integers(5, 200))))
    if kind == 1:
        return masks.resize((int(random.integers(1, 150)), int(random.integers(1, 150))))
    if kind == 2:
        return masks.flip(random.choice(['horizontal', 'vertical', 'diagonal']))
    if kind == 3:
        x, y = random.integers(-5, width), random.integers(-5, height)
        return masks.crop(np.array([x, y, x + random.integers(0, 80), y + random.integers(0, 60)]))
    if kind == 4:
        return masks[random.permutation(len(masks))[:8]]
    return masks.pad((height, width))


@pytest.mark.parametrize('seed', range(40))
def test_all_changes_are_those_of_bitmaps(seed):
    late, masks = both(seed)
    assert_equal(late, masks)
    for step in range(5):
        if not (masks.height and masks.width):
            break
        late, masks = (change(kind, np.random.default_rng((seed, step))) for kind in (late, masks))
        assert_equal(late, masks)
    size = masks.height + seed, masks.width + 3
    late, masks = late.pad(size), masks.pad(size)
    assert_equal(late, masks)
    # padded once more, as by BatchFixedSizePad
    index, corner = np.array([2, 0]), np.array([0, 0, masks.width // 2 + 1, masks.height // 2 + 1])
    assert_equal(late[index].crop(corner).pad(size), masks[index].crop(corner).pad(size))


def test_no_masks():
    late = LateMasks.from_segmentations([], *SIZE).rescale((45, 30)).flip().pad((40, 50))
    assert late.get_bboxes(HorizontalBoxes).tensor.shape == (0, 4)
    assert late.masks.shape == (0, 40, 50)


@pytest.mark.parametrize(
    'index',
    [0, 8, slice(2, 5), [1, 3], np.array([], int), np.arange(9) > 5],
    ids=['first', 'last', 'slice', 'list', 'none', 'flags'],
)
def test_indexed_as_bitmaps(index):
    late, masks = both()
    assert_equal(late[index], masks[index])


@pytest.mark.parametrize(
    'call',
    [
        lambda masks: masks.resize((40, 50), interpolation='bilinear'),
        lambda masks: masks.pad((70, 100), pad_val=1),
        lambda masks: masks.pad((70, 100)).flip(),
        lambda masks: masks.expand(80, 110, 5, 7),
        lambda masks: masks.translate((60, 90), 6),
        lambda masks: masks.cat([masks, masks]),
    ],
    ids=['bilinear', 'pad with 1', 'flip after pad', 'expand', 'translate', 'cat'],
)
def test_other_changes_make_bitmaps(call):
    late, masks = map(call, both())
    assert type(late) is BitmapMasks
    np.testing.assert_array_equal(late.masks, masks.masks)
    assert (late.areas == masks.areas).all()


def test_a_change_of_pixels_stays():
    late, masks = both()
    for kind in (late, masks):
        kind.masks[:, 10:20, 10:20] = 1
    resized = late.resize((30, 40))
    np.testing.assert_array_equal(resized.masks, masks.resize((30, 40)).masks)
    late = both()[0]
    late.masks = np.zeros((9, *SIZE), np.uint8)
    assert not late.flip().masks.any()


def test_a_worker_sends_the_cuts_alone():
    parts = [[np.array([10.0, 10, 40, 10, 40, 30, 10, 30])]]
    late = LateMasks.from_segmentations(parts, 480, 640).rescale((1333, 800)).flip()
    sent = pickle.dumps(late)
    assert len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent).masks, late.masks)

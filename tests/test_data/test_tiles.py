"""Where tiles lie, and what they show of boxes and masks."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mmscratch.data.coco_check import check
from mmscratch.data.tiles import convert
from mmscratch.data.transforms.tile_views import tiles
from mmscratch.errors import InputError


def test_tiles_cover_the_image_and_overlap():
    found = tiles(250, 100, 100, 0.2)
    assert found == [(0, 0, 100, 100), (75, 0, 100, 100), (150, 0, 100, 100)]
    assert tiles(60, 250, 100, 0) == [(0, 0, 60, 100), (0, 75, 60, 100), (0, 150, 60, 100)]
    for length in range(33, 400):
        starts = [x for x, _, _, _ in tiles(length, 32, 32, 0.25)]
        assert starts[0] == 0
        assert starts[-1] + 32 == max(length, 32)
        assert all(0 < b - a <= 24 for a, b in itertools.pairwise(starts))


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def write(root: Path, size=(100, 60), channels=()) -> np.ndarray:
    """Two images of 16 bits, of which the second is empty; return the first one."""
    rng = np.random.RandomState(0)
    image = rng.randint(0, 2**16, (size[1], size[0], *channels)).astype(np.uint16)
    whole = np.zeros((60, 100), np.uint8, order='F')
    whole[20:40, 44:64] = 1
    rle = mask_utils.encode(whole)
    boxes = {
        1: ([10, 10, 20, 20], polygon(10, 10, 20, 20)),
        2: ([44, 20, 20, 20], dict(rle, counts=rle['counts'].decode())),
        3: ([48, 45, 40.5, 10], None),
    }
    rows = [
        dict(id=i, image_id=7, category_id=5, bbox=box, area=box[2] * box[3], iscrowd=0)
        | (dict(segmentation=mask) if mask else {})
        for i, (box, mask) in boxes.items()
    ]
    for split in ('train', 'val'):
        (root / split / 'a b').mkdir(parents=True)
        cv2.imwrite(str(root / split / 'a b' / 'é.png'), image)
        cv2.imwrite(str(root / split / 'empty.png'), image[:, :50])
        images = [
            dict(id=7, file_name='a b/é.png', width=100, height=60),
            dict(id=8, file_name='empty.png', width=50, height=60),
        ]
        record = dict(images=images, annotations=rows, categories=[dict(id=5, name='cat')])
        (root / 'annotations').mkdir(exist_ok=True)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(record))
    return image


def read(root: Path, split='train') -> tuple[dict, dict[str, list[dict]]]:
    """The tiles by name, and the objects of each."""
    content = json.loads((root / 'annotations' / f'instances_{split}.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    objects = {name: [] for name in names.values()}
    for row in content['annotations']:
        objects[names[row['image_id']]].append(row)
    return {image['file_name']: image for image in content['images']}, objects


def test_a_sensors_channels_are_kept(tmp_path):
    write(tmp_path / 'whole')
    pixels = np.random.RandomState(1).rand(60, 100, 5).astype(np.float32)
    for split in ('train', 'val'):
        file = tmp_path / 'whole' / 'annotations' / f'instances_{split}.json'
        file.write_text(file.read_text().replace('.png', '.npy'))
        np.save(tmp_path / 'whole' / split / 'a b' / 'é.npy', pixels)
        np.save(tmp_path / 'whole' / split / 'empty.npy', pixels[:, :50])
    convert(tmp_path / 'whole', tmp_path / 'cut', 60, overlap=0.2, least_visible=0.3)
    images, _ = read(tmp_path / 'cut')
    assert list(images) == ['a b/é_0_0.npy', 'a b/é_40_0.npy']
    assert np.array_equal(np.load(tmp_path / 'cut/train/a b/é_40_0.npy'), pixels[:, 40:])


def test_boxes_and_masks_end_at_the_border(tmp_path):
    image = write(tmp_path / 'whole')
    counts = convert(tmp_path / 'whole', tmp_path / 'cut', 60, overlap=0.2, least_visible=0.3)
    # tiles at 0 and 40; the empty image is a tile of validation alone
    assert counts == dict(train=(2, 2), val=(2, 3))
    images, objects = read(tmp_path / 'cut')
    left, right = 'a b/é_0_0.png', 'a b/é_40_0.png'
    assert list(images) == [left, right]
    # all bits are kept
    pixels = cv2.imread(str(tmp_path / 'cut/train' / right), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(pixels, image[:, 40:])
    whole, cut, barely = objects[left]
    assert (whole['bbox'], whole['area'], whole['iscrowd']) == ([10, 10, 20, 20], 400, 0)
    # 16 of its 20 columns
    assert (cut['bbox'], cut['area'], cut['iscrowd']) == ([44, 20, 16, 20], 320, 0)
    mask = mask_utils.decode(cut['segmentation'])
    assert mask.shape == (60, 60)
    assert mask.sum() == mask[20:40, 44:60].sum() == 320
    # 12 of 40.5 columns are less than 30 %
    assert (barely['bbox'], barely['iscrowd']) == ([48, 45, 12, 10], 1)
    # the first one is not there at all
    shifted, wide = objects[right]
    assert (shifted['bbox'], shifted['area']) == ([4, 20, 20, 20], 400)
    assert mask_utils.decode(shifted['segmentation'])[20:40, 4:24].all()
    assert (wide['bbox'], wide['iscrowd']) == ([8, 45, 40.5, 10], 0)
    names = set(read(tmp_path / 'cut', 'val')[0])
    assert names == {left, right, 'empty_0_0.png'}


def test_the_check_of_the_data_accepts_tiles(tmp_path):
    write(tmp_path / 'whole')
    convert(tmp_path / 'whole', tmp_path / 'cut', 60)
    where = dict(data_root=str(tmp_path / 'cut'), data_prefix=dict(img='train'))
    report = check(where | dict(ann_file='annotations/instances_train.json'))
    assert '2 images' in report.lines()[0]


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (None, dict(size=16), 'tiles of 16 pixels with overlap 0.2: give 32'),
        (None, dict(size=64, overlap=1), 'with overlap 1: give 32 pixels or more, and an overlap'),
        (None, dict(size=64, least_visible=2), '--least-visible 2: give a share'),
        ('full', dict(size=64), 'has files already; name a new folder'),
        ('small', dict(size=64), r'é.png: has \(50, 60\) pixels, and .* says \(100, 60\)'),
        ('gone', dict(size=64), 'é.png: cannot be read'),
    ],
)
def test_faults_are_named(change, options, message, tmp_path):
    image = write(tmp_path / 'whole')
    file = tmp_path / 'whole/train/a b/é.png'
    if change == 'full':
        (tmp_path / 'cut').mkdir()
        (tmp_path / 'cut/x').touch()
    elif change == 'small':
        cv2.imwrite(str(file), image[:, :50])
    elif change == 'gone':
        file.unlink()
    with pytest.raises(InputError, match=message):
        convert(tmp_path / 'whole', tmp_path / 'cut', **options)

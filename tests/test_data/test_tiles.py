"""Where tiles lie, and what they show of boxes and masks."""

import itertools
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mmscratch.data import coco_json
from mmscratch.data.coco_check import check
from mmscratch.data.image_check import look_at
from mmscratch.data.tiles import convert
from mmscratch.data.transforms import LoadImageFromFile
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


def put(root: Path, file_name: str, **row) -> Path:
    """One image of 40 x 40 pixels a split, whose file is still to be written, with an object."""
    for split in ('train', 'val'):
        record = dict(
            images=[dict(id=7, file_name=file_name, width=40, height=40)],
            annotations=[
                dict(id=1, image_id=7, category_id=5, bbox=[4, 4, 20, 20], area=400, iscrowd=0)
                | row
            ],
            categories=[dict(id=5, name='cat')],
        )
        (root / split).mkdir(parents=True)
        (root / 'annotations').mkdir(exist_ok=True)
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(record))
    return root / 'train' / file_name


def test_two_images_of_one_name_keep_apart(tmp_path):
    root = tmp_path / 'whole'
    put(root, 'a.png')
    for split, grey in (('train', 10), ('val', 20)):
        cv2.imwrite(str(root / split / 'a.png'), np.full((40, 40), grey, np.uint8))
        cv2.imwrite(str(root / split / 'a.bmp'), np.full((40, 40), 99, np.uint8))
        file = root / f'annotations/instances_{split}.json'
        content = json.loads(file.read_text())
        content['images'].append(dict(content['images'][0], id=8, file_name='a.bmp'))
        content['annotations'].append(dict(content['annotations'][0], id=2, image_id=8))
        file.write_text(json.dumps(content))
    convert(root, tmp_path / 'cut', 64)
    images, _ = read(tmp_path / 'cut')
    seen = [cv2.imread(str(tmp_path / 'cut/train' / name))[0, 0, 0] for name in images]
    assert seen == [10, 99]


def test_a_mask_without_three_points_is_none_on_tiles_either(tmp_path):
    """Its object is not trained on where masks are, as on whole images."""
    square = [4, 4, 24, 4, 24, 24, 4, 24]
    for number, (segmentation, usable) in enumerate(
        [([[4, 4, 24, 24]], [False]), ([[4, 4, 24, 24], square], [True])]
    ):
        root, out = tmp_path / f'whole{number}', tmp_path / f'cut{number}'
        file = put(root, 'a.png', segmentation=segmentation)
        for split in ('train', 'val'):
            cv2.imwrite(str(root / split / file.name), np.zeros((40, 40), np.uint8))
        convert(root, out, 64)
        masks = coco_json.load(out / 'annotations/instances_train.json').masks
        assert (masks.given.tolist(), masks.usable.tolist()) == ([True], usable)


def test_what_is_to_be_ignored_stays_so(tmp_path):
    write(tmp_path / 'whole')
    file = tmp_path / 'whole/annotations/instances_train.json'
    content = json.loads(file.read_text())
    # alone on the left tile, and one of two on the right one
    content['annotations'] = content['annotations'][1:]
    content['annotations'][0].update(ignore=1, bbox=[0, 20, 64, 20])
    del content['annotations'][0]['segmentation']
    file.write_text(json.dumps(content))
    convert(tmp_path / 'whole', tmp_path / 'cut', 60)
    _, objects = read(tmp_path / 'cut')
    (rows,) = objects.values()
    assert [row.get('ignore') for row in rows] == [1, None]


def test_the_folder_is_checked_first(tmp_path):
    """A name that leads out would have tiles written into the folder of the image itself."""
    mine = tmp_path / 'mine'
    mine.mkdir()
    cv2.imwrite(str(mine / 'a.png'), np.zeros((40, 40), np.uint8))
    put(tmp_path / 'whole', str(mine / 'a.png'))
    with pytest.raises(InputError, match='which leads out of it'):
        convert(tmp_path / 'whole', tmp_path / 'cut', 32)
    assert [file.name for file in mine.iterdir()] == ['a.png']
    for split in ('train', 'val'):
        file = tmp_path / f'whole/annotations/instances_{split}.json'
        content = json.loads(file.read_text().replace(f'{mine}/', ''))
        del content['annotations'][0]['iscrowd']
        file.write_text(json.dumps(content))
        shutil.copy(mine / 'a.png', tmp_path / 'whole' / split)
    with pytest.raises(InputError, match='lack a proper iscrowd'):
        convert(tmp_path / 'whole', tmp_path / 'cut', 32)


def test_bad_boxes_are_left_out_where_that_is_asked(tmp_path):
    write(tmp_path / 'whole')
    file = tmp_path / 'whole/annotations/instances_train.json'
    file.write_text(file.read_text().replace('[10, 10, 20, 20]', '[200, 10, 20, 20]'))
    with pytest.raises(InputError, match=r'1 of 3 boxes lie outside .* with --drop-bad-boxes'):
        convert(tmp_path / 'whole', tmp_path / 'cut', 64)
    assert not (tmp_path / 'cut').exists()
    convert(tmp_path / 'whole', tmp_path / 'cut', 100, drop_bad_boxes=True)
    _, objects = read(tmp_path / 'cut')
    assert [len(rows) for rows in objects.values()] == [2]


@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
@pytest.mark.parametrize('form', ['npy', 'tif of pages', 'tif turned', 'png', 'png with alpha'])
def test_channels_keep_their_order(tmp_path, form, dtype):
    """A tile is loaded as its image is, by both loaders."""
    channels = [100, 150, 200] + [255] * (form == 'png with alpha')
    pixels = np.full((40, 40, len(channels)), channels, dtype)
    if dtype == 'uint16':
        pixels *= 257  # so that 8 bits of it are the same, whether cut or rounded
    file = put(tmp_path / 'whole', f'a.{form[:3]}')
    if form == 'npy':
        np.save(file, pixels)
    elif form == 'tif of pages':
        tifffile = pytest.importorskip('tifffile')
        tifffile.imwrite(file, np.moveaxis(pixels, 2, 0), photometric='minisblack')
    elif form == 'tif turned':
        tifffile = pytest.importorskip('tifffile')
        tifffile.imwrite(file, pixels, photometric='rgb', extratags=[(274, 'H', 1, 6, True)])
    else:
        cv2.imwrite(str(file), pixels)
    shutil.copy(file, tmp_path / 'whole/val')
    convert(tmp_path / 'whole', tmp_path / 'cut', 32)
    (tile, *_) = (tmp_path / 'cut/train').iterdir()
    loaders = [LoadImageFromFile(channels=[1, 2, 3])]
    if form not in ('npy', 'tif of pages'):
        loaders.append(LoadImageFromFile())
    for load in loaders:
        seen, expected = (load(dict(img_path=str(path)))['img'][0, 0] for path in (tile, file))
        assert seen.tolist() == expected.tolist()
    facts, expected = look_at(tile), look_at(file)
    assert (facts.kind, bool(facts.not_for_opencv)) == (
        expected.kind,
        bool(expected.not_for_opencv),
    )


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
        ('small', dict(size=64), "é.png': 100 x 60 in the JSON, 50 x 60 when loaded"),
        ('gone', dict(size=64), "1 of 2 images are not in .*, the first is 'a b/é.png'"),
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


def test_nothing_is_left_of_an_interrupted_cut(tmp_path, monkeypatch):
    """Which would pass for a whole one."""
    write(tmp_path / 'whole')

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'imwrite', interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(tmp_path / 'whole', tmp_path / 'out', 40)
    assert [path.name for path in tmp_path.iterdir()] == ['whole']
    assert convert(tmp_path / 'whole', tmp_path / 'out', 40)

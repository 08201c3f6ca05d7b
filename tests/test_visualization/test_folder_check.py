"""The check of a folder, on folders with known faults."""

import hashlib
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmscratch.data import duplicates, layouts
from mmscratch.data.pixels import Pixels, look_at
from mmscratch.errors import InputError
from mmscratch.visualization.folder_check import page
from mmscratch.visualization.folder_check.finding import KINDS
from mmscratch.visualization.folder_check.folder_check import CHANGES, FolderCheck

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'


def found(check):
    return {kind: dict(finding.counts) for kind, finding in check.findings.items()}


def draw(file, seed, size=(64, 48), quality=95):
    """An image of random colours in patches, which survive compression."""
    small = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8)
    pixels = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, quality=quality)


def digest(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()


def test_a_sound_folder(make_coco, tmp_path):
    check = FolderCheck(make_coco(), CONFIG)
    assert found(check) == {'empty': {'train': 1}}
    assert (check.refusal, check.stops) == ('', [])
    assert check.verdict() == 'Training would start, and nothing was found that spoils results.'
    stats = check.statistics['train']
    # boxes of 20 x 30 on images of 48 x 41 and 48 x 42; the third has none
    assert stats.objects.tolist() == [2, 2]
    assert stats.images_with.tolist() == [2, 2]
    assert stats.sizes.tolist() == [[2, 0, 0], [2, 0, 0]]
    assert stats.a_image.tolist() == [2, 2, 0]
    assert stats.most.tolist() == [1, 1, 0]
    assert stats.masks == 4
    assert stats.kinds == {'3 x uint8': 3}
    np.testing.assert_allclose(stats.aspects, 2 / 3)
    np.testing.assert_allclose(stats.sides, 600**0.5)
    assert check.ap == {
        split: {metric: {'star': 1.0, 'disc': 1.0} for metric in ('bbox', 'segm')}
        for split in ('train', 'val')
    }
    page.write(check, tmp_path / 'page.html')
    text = (tmp_path / 'page.html').read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    # two images with objects: each as it is and twice augmented
    assert text.count('data:image/jpeg') == 6
    assert text.count('augmented 2, 2 objects') == 2
    assert text.count('<polygon') == 12


def spoil(split, data):
    """Put a fault of most kinds into the training split."""
    if split == 'val':
        data['categories'].reverse()
        return
    data['categories'][0]['keypoints'] = ['tip']
    data['categories'].append(dict(id=9, name='Star '))
    first, second, third, fourth = data['annotations']
    first['bbox'] = [-10.0, 5.0, 30.0, 30.0]  # 20 of 30 pixels are inside
    second['category_id'] = 9
    third['segmentation'] = [[1, 2]]
    del fourth['area']
    more = [
        dict(first, id=50, bbox=[40.0, 5.0, 0.0, 9.0]),
        dict(first, id=51, bbox=[4.0, 5.0, 0.5, 9.0]),
        dict(first, id=52, bbox=[4.0, 5.0, 'x', 9.0]),
        dict(first, id=53, image_id=77),
        dict(first, id=10, bbox=[1.0, 1.0, 20.0, 20.0]),
        dict(first, id=54, category_id=9, bbox=[4.0, 5.0, 20.0, 30.0]),
        dict(first, id=55, bbox=[4.0, 5.0, 20.0, 29.0]),
        dict(first, id=56, segmentation='?', bbox=[9.0, 9.0, 9.0, 9.0]),
        dict(first, id=57, image_id=30),
    ]
    data['annotations'] += more
    data['images'][0]['width'] = 100
    data['images'] += [
        dict(id=30, file_name='lost.png', width=9, height=9),
        dict(id=31, file_name='broken.png', width=9, height=9),
        dict(id=32, file_name='1.png', width=48, height=41),
        dict(id='33', file_name='odd.png', width=9, height=9),
    ]


def test_all_faults_are_told_at_once_and_repaired(make_coco, tmp_path):
    root = make_coco(spoil)
    (root / 'train/broken.png').write_bytes((root / 'train/1.png').read_bytes()[:900])
    draw(root / 'train/extra.png', 9)
    before = digest(root)
    check = FolderCheck(root, CONFIG)
    assert found(check) == {
        'unlisted': {'': 1},
        'entry': {'train': 2},
        'id': {'train': 1},
        'listed twice': {'train': 1},
        'names': {'train': 1},
        'lists': {'val': 1},
        'missing': {'train': 1},
        'broken': {'train': 1},
        'size': {'train': 1},
        'beyond': {'train': 1},
        'bad box': {'train': 2},
        'thin': {'train': 1},
        'twice': {'train': 1},
        'double': {'train': 1},
        'area': {'train': 1},
        'short mask': {'train': 1},
        'bad mask': {'train': 1},
        'no mask': {'train': 2},
        'empty': {'train': 1},
    }
    assert check.refusal
    assert check.verdict().startswith('Training would not start: 12 faults.')
    lines = list(check.fix(tmp_path / 'fixed'))
    assert digest(root) == before
    told = (tmp_path / 'fixed' / CHANGES).read_text()
    assert told.startswith(''.join(f'{line}\n' for line in lines[:-1]))
    assert 'others have one: 2 in train; in the copy: STILL SO' in told
    assert 'images are missing: 1 in train; in the copy: left out, with their objects' in lines
    assert '\n  lost.png\n' in told
    # masks that are missing cannot be made up: the copy says the one thing that is left
    assert '2 of 7 annotations have no segmentation' in lines[-1]
    data = json.loads((tmp_path / 'fixed/annotations/instances_train.json').read_text())
    assert data['categories'] == [
        dict(id=7, name='star', keypoints=['tip']),
        dict(id=3, name='disc'),
    ]
    rows = {row['id']: row for row in data['annotations']}
    assert sorted(rows) == [10, 11, 20, 21, 55, 56, 58]
    assert rows[10]['bbox'] == [0, 5, 20, 30]
    assert rows[21]['area'] == 600
    assert [row['category_id'] for row in rows.values()] == [7, 7, 7, 3, 7, 7, 7]
    assert [(row['file_name'], row['width']) for row in data['images']] == [
        ('1.png', 48),
        ('2.png', 48),
        ('3.png', 48),
    ]
    assert sorted(path.name for path in (tmp_path / 'fixed/train').iterdir()) == [
        '1.png',
        '2.png',
        '3.png',
    ]


def test_a_repaired_copy_trains(make_coco, tmp_path):
    def shares(split, data):
        for row in data['annotations']:
            row['bbox'] = [0.25, 0.25, 0.5, 0.5]
            row['segmentation'] = [[0.25, 0.25, 0.75, 0.25, 0.75, 0.75]]

    check = FolderCheck(make_coco(shares), CONFIG)
    assert 'as shares of their image' in check.refusal
    assert found(check)['normalised'] == {'train': 8, 'val': 8}
    *_, last = check.fix(tmp_path / 'fixed')
    assert last == 'the copy passes the check that training begins with'
    data = json.loads((tmp_path / 'fixed/annotations/instances_val.json').read_text())
    row = data['annotations'][0]  # on an image of 48 x 44
    assert (row['bbox'], row['area']) == ([12, 11, 24, 22], 24 * 22)
    assert row['segmentation'] == [[12, 11, 36, 11, 36, 33]]
    with pytest.raises(InputError, match='exists and is not empty'):
        list(check.fix(tmp_path / 'fixed'))


def test_copies_and_leaks(make_coco, tmp_path):
    root = make_coco()
    for split, names in (('train', ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']), ('val', ['e.jpg'])):
        file = root / f'annotations/instances_{split}.json'
        data = json.loads(file.read_text())
        data['images'] += [
            dict(id=number, file_name=name, width=64, height=48)
            for number, name in enumerate(names, 20)
        ]
        last = data['annotations'][-1]
        data['annotations'] += [
            dict(last, id=100 + 10 * number + k, image_id=number, bbox=[9.0 * k, 1, 8, 8])
            for number, name in enumerate(names, 20)
            for k in range(2 if name == 'b.jpg' else 1)
        ]
        file.write_text(json.dumps(data))
    draw(root / 'train/a.jpg', 1)
    shutil.copy(root / 'train/a.jpg', root / 'train/b.jpg')  # with more objects
    draw(root / 'train/c.jpg', 2, quality=95)
    draw(root / 'val/e.jpg', 2, quality=40)
    shutil.copy(root / 'val/4.jpg', root / 'train/d.jpg')
    check = FolderCheck(root, CONFIG)
    result = found(check)
    assert {kind: result[kind] for kind in ('copy', 'leak', 'near leak')} == {
        'copy': {'train': 1},
        'leak': {'train': 1},
        'near leak': {'train': 1},
    }
    assert check.findings['copy'].examples == ['a.jpg (1 objects) and train/b.jpg (2)']
    assert check.findings['near leak'].examples == ['c.jpg (1 objects) and val/e.jpg (1)']
    assert 'near' not in result
    page.write(check, tmp_path / 'page.html')
    assert (tmp_path / 'page.html').read_text().count('Nearly equal') == 1
    list(check.fix(tmp_path / 'fixed'))
    assert sorted(path.name for path in (tmp_path / 'fixed/train').iterdir()) == [
        '1.png',
        '2.png',
        '3.png',
        'b.jpg',
    ]
    assert len(list((tmp_path / 'fixed/val').iterdir())) == 3
    # copies of files alone
    assert 'near leak' not in found(FolderCheck(root, CONFIG, near=-1))


def test_a_camera_that_does_not_move(make_coco):
    """Nothing is left out, but the splits leak."""
    root = make_coco()
    for number, file in enumerate(sorted([*root.glob('*/*.png'), *root.glob('*/*.jpg')])):
        with Image.open(file) as image:
            size = image.size
        draw(file, 1, size, quality=50 + number)
    check = FolderCheck(root, CONFIG)
    assert found(check)['still leak'] == {'train': 3, 'val': 2}
    assert check.findings['still leak'].severity == 'spoils results'
    assert not {'near', 'near leak'} & check.findings.keys()


def test_hashes_of_edited_and_of_other_images(tmp_path):
    draw(tmp_path / 'one.png', 3, (200, 150))
    image = Image.open(tmp_path / 'one.png')
    image.resize((100, 75)).save(tmp_path / 'small.jpg', quality=40)
    image.convert('L').save(tmp_path / 'grey.png')
    Image.eval(image, lambda value: value // 2 + 60).save(tmp_path / 'pale.png')
    draw(tmp_path / 'other.png', 4, (200, 150))
    Image.new('RGB', (40, 40), (7, 7, 7)).save(tmp_path / 'flat.png')
    names = ['one.png', 'small.jpg', 'grey.png', 'pale.png', 'other.png', 'flat.png']
    looks = [look_at(tmp_path / name) for name in names]
    assert duplicates.near_ones(looks) == [[0, 1, 2, 3]]
    assert duplicates.copies(looks) == []
    assert [look.phash is None for look in looks] == [False] * 5 + [True]
    assert [look.grey for look in looks] == [False, False, True, False, False, True]
    assert [look.channels for look in looks] == [3, 3, 1, 3, 3, 3]


def test_near_ones_are_those_of_a_plain_comparison():
    """Chains of hashes, over more rows than are compared at once."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (300, 256), np.uint8)
    bits = np.concatenate([bits, bits[:200]])
    for row in bits[300:]:
        row[rng.choice(256, rng.integers(30, 51), replace=False)] ^= 1
    looks = [Pixels(phash=np.packbits(row).tobytes()) for row in bits]
    distance = (bits[:, None] != bits[None]).sum(-1)
    expected = [[i, 300 + i] for i in range(200) if distance[i, 300 + i] <= 40]
    assert 80 < len(expected) < 150
    assert duplicates.near_ones(looks) == expected
    # each is within 40 of the next, none of a third
    chain = np.zeros((4, 256), np.uint8)
    for number in range(4):
        chain[number, : 40 * number] = 1
    looks = [Pixels(phash=np.packbits(row).tobytes()) for row in chain]
    assert duplicates.near_ones(looks) == [[0, 1, 2, 3]]


def test_more_objects_than_coco_counts(make_coco):
    def crowd(split, data):
        if split == 'val':
            first = data['annotations'][0]
            boxes = [
                [float(x), float(y), 3.0, 3.0] for x in range(0, 44, 4) for y in range(0, 44, 4)
            ]
            data['annotations'] = [
                dict(first, id=1000 + k, bbox=box, area=9, segmentation=[])
                for k, box in enumerate(boxes[:110])
            ]

    check = FolderCheck(make_coco(crowd), CONFIG)
    assert found(check)['crowded'] == {'val': 1}
    assert found(check)['self'] == {'val': 1}
    assert check.ap['val']['bbox']['star'] < 1
    assert found(check)['missing class'] == {'val': 1}
    assert check.findings['missing class'].examples == ['disc (2 in train)']


def test_class_names_that_are_almost_alike(make_coco):
    names = ['stop sign', 'Stop_signs', 'traffic light', 'trafic light', 'M3', 'M4', 'cat', 'car']

    def rename(split, data):
        data['categories'] += [dict(id=20 + i, name=name) for i, name in enumerate(names)]

    check = FolderCheck(make_coco(rename), CONFIG)
    assert check.findings['alike'].examples == [
        "'stop sign' and 'Stop_signs'",
        "'traffic light' and 'trafic light'",
    ]


def test_pascal_voc(make_voc, tmp_path):
    root = make_voc() / 'VOC2012'
    file = root / 'Annotations/2008_000008.xml'
    for number, image in enumerate((root / 'JPEGImages').iterdir()):
        draw(image, number, (96, 64))
    text = file.read_text()
    file.write_text(text.replace('<xmax>20</xmax>', '<xmax>1</xmax>'))
    check = FolderCheck(root, CONFIG)
    result = found(check)
    assert result['bad box'] == {'train': 1}
    assert result['crowd'] == {'train': 1, 'val': 2}
    assert result['missing class'] == {'train': 1}
    assert 'unlisted' not in result
    assert check.refusal.endswith('(drop_bad_boxes=True)')
    *_, last = check.fix(tmp_path / 'fixed')
    assert last == 'the copy passes the check that training begins with'
    data = json.loads((tmp_path / 'fixed/annotations/instances_train.json').read_text())
    assert [row['bbox'] for row in data['annotations']] == [[10, 10, 39, 39], [60, 20, 29, 39]]
    assert [row['iscrowd'] for row in data['annotations']] == [0, 1]
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, tmp_path / 'fixed')
    assert cfg.train_dataloader.dataset.metainfo.classes == ('cat', 'dog')


def test_the_tool(make_coco, tmp_path, monkeypatch, capsys):
    root = make_coco(lambda split, data: data['annotations'][0].update(bbox=[1, 2, 0, 4]))
    spec = importlib.util.spec_from_file_location('check_tool', ROOT / 'tools/data/check.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        'sys.argv', ['check.py', str(root), '--page', str(tmp_path / 'a/page.html')]
    )
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert 'boxes have no area or lie outside of their image: 1 in train, 1 in val, such as' in out
    text = (tmp_path / 'a/page.html').read_text()
    assert 'Training would not start: 1 fault.' in text
    assert 'left out' in text


def test_every_kind_says_how_much_it_matters():
    assert {severity for severity, _, _ in KINDS.values()} == {
        'stops training',
        'spoils results',
        'good to know',
    }


def test_images_of_sensors_are_looked_at(tmp_path):
    pixels = np.random.default_rng(0).random((150, 200, 5), np.float32)
    np.save(tmp_path / 'a.npy', pixels)
    found = look_at(tmp_path / 'a.npy')
    assert (found.width, found.height, found.channels, found.depth) == (200, 150, 5, 'float32')
    assert not found.fault
    assert found.phash
    np.save(tmp_path / 'a.npy', pixels[..., 0].astype(np.int64))
    assert not look_at(tmp_path / 'a.npy').fault
    (tmp_path / 'a.npy').write_bytes(b'\x93NUMPY')
    assert look_at(tmp_path / 'a.npy').fault


def test_copies_are_found_without_a_package_that_decodes_them(tmp_path, monkeypatch):
    """Training loads TIFF of 8 bits by OpenCV; others are compared byte by byte."""
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    draw(tmp_path / '0.tif', 1)
    deep = np.random.default_rng(0).integers(0, 4000, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / '1.tif')
    for number in (0, 1):
        shutil.copy(tmp_path / f'{number}.tif', tmp_path / f'{number + 2}.tif')
    looks = [look_at(tmp_path / f'{number}.tif') for number in range(4)]
    assert [bool(look.fault) for look in looks] == [False, True, False, True]
    assert looks[0].phash
    assert duplicates.copies(looks) == [[0, 2], [1, 3]]


def test_doubles_among_many_boxes(make_coco):
    """More boxes than are compared at once; those of two blocks are compared, too."""

    def repeat(split, data):
        first = data['annotations'][0]
        boxes = [[x % 40, x // 40 * 2, 1.5, 1.5] for x in range(600)]
        boxes += [[x, y, 1.5, 1.55] for x, y, *_ in (boxes[10], boxes[300])]
        data['annotations'] = [
            dict(first, id=n, bbox=box, area=2.25, segmentation=[]) for n, box in enumerate(boxes)
        ]

    told = FolderCheck(make_coco(repeat), CONFIG).findings['double']
    assert told.counts == {'train': 2, 'val': 2}
    assert [text.partition(' of ')[0] for text in told.first['val']] == [
        'annotations 10 and 600',
        'annotations 300 and 601',
    ]

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from mmscratch.data import coco_json, layouts, repoint
from mmscratch.data.exports import cache
from mmscratch.errors import InputError

from .conftest import Drawn, draw


def load(root, split='train'):
    file = repoint.annotation_path(layouts.find(root)[split])
    return coco_json.load(file), cache.source_of(file).notes


def change(file, **keys):
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def shape(kind, points, label='disc', **keys):
    return dict(label=label, points=points, shape_type=kind, **keys)


def rows_of(root, shapes):
    """The annotations of the first image with these shapes."""
    change(root / 'train/1.json', shapes=shapes)
    content, notes = load(root)
    return [row for row in content['annotations'] if row['image_id'] == 1], notes


def test_shapes_of_a_group_are_one_object(make_export):
    """Two disc parts of group 1 are one; a star of group 1 and a disc without group are not."""
    left, right = [[1, 1], [9, 1], [9, 11]], [[20, 21], [28, 21], [28, 31]]
    shapes = [
        shape('polygon', left, group_id=1),
        shape('polygon', left, 'star', group_id=1),
        shape('polygon', right, group_id=1),
        shape('polygon', right),
    ]
    rows, _ = rows_of(make_export('labelme'), shapes)
    flat = [[x for point in part for x in point] for part in (left, right)]
    assert [(row['category_id'], row['segmentation']) for row in rows] == [
        (1, flat),
        (2, flat[:1]),
        (1, flat[1:]),
    ]
    assert rows[0]['bbox'] == [1, 1, 27, 30]
    assert rows[0]['area'] == 80


def test_circles_and_masks(make_export):
    part = np.zeros((4, 6), bool)
    part[1:, 2:] = True
    file = io.BytesIO()
    Image.fromarray(part).save(file, 'PNG')
    text = base64.b64encode(file.getvalue()).decode()
    circle = shape('circle', [[20, 15], [24, 18]])
    mask = shape('mask', [[10, 20], [15, 23]], mask=text)
    rows, notes = rows_of(make_export('labelme'), [circle, mask, shape('point', [[3, 3]])])
    assert rows[0]['bbox'] == [15, 10, 10, 10]
    assert rows[0]['area'] == pytest.approx(np.pi * 25, rel=0.01)
    whole = np.zeros((40, 48), np.uint8)
    whole[20:24, 10:16] = part
    assert (mask_utils.decode(rows[1]['segmentation']) == whole).all()
    assert rows[1]['bbox'] == [12, 21, 4, 3]
    assert rows[1]['area'] == 12
    assert notes == ['shapes that are no objects are left out: 1 point']


def test_a_mask_and_a_polygon_of_a_group(make_export):
    file = io.BytesIO()
    Image.new('1', (4, 4), 1).save(file, 'PNG')
    text = base64.b64encode(file.getvalue()).decode()
    shapes = [
        shape('mask', [[0, 0], [3, 3]], mask=text, group_id=1),
        shape('polygon', [[20, 20], [30, 20], [30, 30], [20, 30]], group_id=1),
    ]
    (row,), _ = rows_of(make_export('labelme'), shapes)
    assert row['bbox'] == [0, 0, 30, 30]
    assert row['area'] == 116


def test_sizes_that_are_missing_are_those_of_the_images(make_export):
    root = make_export('labelme')
    change(root / 'val/5_turned.json', imageWidth=None, imageHeight=None)
    row = load(root, 'val')[0]['images'][0]
    assert (row['width'], row['height']) == (60, 40)


def test_images_and_files_that_do_not_belong(make_export):
    root = make_export('labelme')
    draw(Drawn('7.jpg', 'train', 30, 30, []), root / 'train/7.jpg')
    (root / 'train/settings.json').write_text('{"zoom": 2}')
    content, notes = load(root)
    assert len(content['images']) == 4
    assert notes == [
        f'1 images have no JSON and are left out, the first is {root}/train/7.jpg; save those '
        'without objects in LabelMe, too'
    ]


def test_json_files_in_a_folder_of_their_own(make_export):
    root = make_export('labelme')
    (root / 'labels/train').mkdir(parents=True)
    for file in (root / 'train').glob('*.json'):
        change(file, imagePath=f'..\\..\\train\\{file.stem}.jpg')
        file.rename(root / 'labels/train' / file.name)
    assert load(root)[0]['images'][0]['file_name'] == 'train/1.jpg'


def test_faults(make_export):
    root = make_export('labelme')
    file = root / 'train/1.json'
    sound = file.read_text()
    change(file, shapes=[shape('polygon', [[1, 1], [2, 2]])])
    with pytest.raises(InputError, match=r"1\.json: a polygon of 'disc' has 2 points"):
        layouts.find(root)
    change(file, shapes=[shape('polygon', [[1, 1], [2, 'x'], [3, 3]])])
    with pytest.raises(InputError, match=r'1\.json: cannot be read \(Expected `float`, got `str`'):
        layouts.find(root)
    change(file, shapes=[shape('mask', [[1, 1], [2, 2]], mask='bm8=')])
    with pytest.raises(InputError, match=r"1\.json: a mask of 'disc' cannot be read"):
        layouts.find(root)
    file.write_text(sound[:-5])
    with pytest.raises(InputError, match=r'1\.json: cannot be read \(.*save it again'):
        layouts.find(root)
    file.write_text(sound)
    (root / 'train/1.jpg').unlink()
    with pytest.raises(InputError, match=r"1\.json: its image '1\.jpg' is not in .*train; put it"):
        layouts.find(root)


def test_files_outside_of_the_splits_are_told(make_export):
    root = make_export('labelme')
    for suffix in ('jpg', 'json'):
        (root / f'train/1.{suffix}').rename(root / f'1.{suffix}')
    content, notes = load(root)
    assert len(content['images']) == 3
    assert f'{root}: what is in none of the folders of splits is not used' in notes


def test_a_point_far_beyond_any_image_is_a_fault(make_export):
    root = make_export('labelme')
    file = next(root.rglob('1.json'))
    content = json.loads(file.read_text())
    content['shapes'][0]['points'][0] = [1e300, 1]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'has a point beyond 1e\+09; correct it'):
        layouts.find(root)


def test_links_are_followed(make_export):
    root = make_export('labelme')
    (root / 'train').rename(root.parent / 'first')
    (root / 'train').symlink_to(root.parent / 'first')
    assert len(load(root)[0]['images']) == 4


def test_another_json_may_come_first(make_export):
    root = make_export('labelme')
    for folder in ('train', 'val', 'val/unter'):
        (root / folder / '!info.json').write_text('{"tool": "x"}')
    assert len(load(root)[0]['images']) == 4


def test_files_that_cannot_be_read_are_not_said_to_be_empty(make_export):
    root = make_export('labelme')
    for file in root.rglob('*.json'):
        file.write_text(file.read_text().replace('"disc"', '3').replace('"star"', '4'))
    with pytest.raises(InputError, match=r'1\.json: cannot be read \(Expected `str`, got `int`'):
        layouts.find(root)

import json
from pathlib import Path

import pytest

from mmscratch.data import coco_json, layouts, repoint
from mmscratch.data.exports import cache
from mmscratch.errors import InputError

from .conftest import DATA, coco, draw, of, write_json


def load(root, split='train'):
    file = repoint.annotation_path(layouts.find(root)[split])
    return coco_json.load(file), cache.source_of(file).notes


def test_rows_stay_as_they_are(make_export):
    """Ids, crowds, RLE, masks of several parts, keypoints."""
    root = make_export('roboflow')
    file = root / 'train/_annotations.coco.json'
    content = json.loads(file.read_text())
    first, *others = content['annotations']
    first.update(segmentation=[[4, 5, 24, 5, 24, 35], [4, 5, 4, 35, 24, 35]], keypoints=[5, 6, 2])
    others[0].update(
        iscrowd=1, segmentation=dict(counts=[40 * 48 - 600, 600], size=[48, 40]), track_id=12
    )
    file.write_text(json.dumps(content))
    kept, notes = load(root)
    assert kept['annotations'] == content['annotations']
    assert kept['categories'] == content['categories'][1:]
    assert kept['info'] == content['info']
    assert notes == ['left out, since it has no objects and groups the others: shapes']


def test_a_group_with_objects_stays(make_export):
    root = make_export('roboflow')
    file = root / 'valid/_annotations.coco.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['category_id'] = 0
    file.write_text(json.dumps(content))
    assert load(root)[0].classes == ('shapes', 'disc', 'star')


def test_test_images_stand_in_for_validation(make_export):
    root = make_export('roboflow')
    (root / 'valid').rename(root / 'test')
    kept, notes = load(root)
    assert len(kept['images']) == 4
    assert f'{root}: no validation images, so those of test are' in notes
    assert len(load(root, 'val')[0]['images']) == 2


def test_test_images_are_not_used(make_export):
    root = make_export('roboflow')
    file = root / 'valid/_annotations.coco.json'
    write_json(root / 'test/_annotations.coco.json', json.loads(file.read_text()))
    _, notes = load(root)
    assert f'{root}: its test images are not used; --data tests with val' in notes


def test_a_single_split_is_divided(make_export):
    root = make_export('roboflow')
    (root / 'valid/_annotations.coco.json').unlink()
    train, val = load(root)[0], load(root, 'val')[0]
    assert len(train['images']) + len(val['images']) == 4


@pytest.mark.parametrize('name', ['Train', 'train', 'train2017'])
def test_masks_of_cvat_are_objects(make_export, name):
    """It writes iscrowd=1 for each; a label with the attribute is_crowd says what is one.

    Subsets may have the names of COCO's own files.
    """
    root = make_export('cvat')
    for old, new in (('Train', name), ('Validation', name.lower().replace('train', 'val'))):
        (root / f'annotations/instances_{old}.json').rename(
            root / f'annotations/instances_{new}.json'
        )
        (root / 'images' / old).rename(root / 'images' / new)
    file = root / f'annotations/instances_{name}.json'
    content = json.loads(file.read_text())
    rows = content['annotations']
    sizes = {row['id']: [row['height'], row['width']] for row in content['images']}
    for row in rows[:2]:
        height, width = sizes[row['image_id']]
        row.update(
            iscrowd=1, segmentation=dict(counts=[width * height - 9, 9], size=[height, width])
        )
    rows[1]['attributes']['is_crowd'] = True
    file.write_text(json.dumps(content))
    kept, notes = load(root)
    assert [row['iscrowd'] for row in kept['annotations']] == [0, 1, 0, 0]
    assert notes == ['1 masks count as single objects: CVAT writes iscrowd=1 for every mask']


def test_keypoints_of_cvat_beside_instances(make_export):
    root = make_export('cvat_task')
    instances = root / 'annotations/instances_default.json'
    (root / 'annotations/person_keypoints_default.json').write_bytes(instances.read_bytes())
    assert cache.recognise(root).labels == [instances]


def test_a_missing_image_is_named(make_export):
    root = make_export('cvat')
    (root / 'images/Train/1.jpg').unlink()
    expected = (
        r"instances_Train\.json: 1 of 4 images are not in .*images/Train, the first is '1\.jpg'"
    )
    with pytest.raises(InputError, match=expected):
        layouts.find(root)


def test_broken_and_unclear_files(make_export, tmp_path):
    root = make_export('label_studio')
    (root / 'result.json').write_text('{"images": [')
    with pytest.raises(InputError, match=r'result\.json: broken JSON at line 1'):
        layouts.find(root)
    for name in ('a.json', 'b.json'):
        write_json(tmp_path / 'two' / name, coco(DATA))
    with pytest.raises(InputError, match=r'holds 2 COCO files, a\.json, b\.json; leave one'):
        layouts.find(tmp_path / 'two')


def test_half_of_cocos_own_layout_is_a_mistake(tmp_path):
    write_json(tmp_path / 'annotations/instances_train.json', coco(DATA))
    write_json(tmp_path / 'annotations/val.json', coco(DATA))
    with pytest.raises(InputError, match=r'no pair instances_\{train,val\}\.json'):
        layouts.find(tmp_path)


def test_other_names(tmp_path):
    for split in ('train', 'val'):
        write_json(tmp_path / f'annotations/{split}.json', coco(of(DATA, split)))
    for image in DATA:
        draw(image, tmp_path / 'pictures' / image.name)
    assert [len(load(tmp_path, split)[0]['images']) for split in ('train', 'val')] == [4, 2]


def test_images_of_the_other_split_are_not_taken(make_export):
    """Frames of videos have the same names in both."""
    root = make_export('cvat')
    for image in (root / 'images/Train').iterdir():
        (root / 'images/Validation' / image.name).write_bytes(image.read_bytes())
        image.unlink()
    with pytest.raises(InputError, match='4 of 4 images are not in'):
        layouts.find(root)


def test_images_that_move_are_found_again(make_export):
    root = make_export('cvat_task')
    assert load(root)[0]['images'][0]['file_name'].startswith('images/default/')
    for path in (root / 'images/default').iterdir():
        path.rename(root / 'images' / path.name)
    names = [row['file_name'] for row in load(root)[0]['images']]
    assert not [name for name in names if name.startswith('images/default')]


def test_images_elsewhere_are_found_by_absolute_names(make_export, tmp_path):
    root = make_export('roboflow')
    for split in ('train', 'valid'):
        file = root / split / '_annotations.coco.json'
        content = json.loads(file.read_text())
        elsewhere = tmp_path / 'elsewhere' / split
        elsewhere.mkdir(parents=True)
        for row in content['images']:
            moved = elsewhere / Path(row['file_name']).name
            (root / split / row['file_name']).rename(moved)
            row['file_name'] = str(moved)
        file.write_text(json.dumps(content))
    for split in ('train', 'val'):
        dataset = layouts.find(root)[split]
        folder = repoint.annotation_path(dataset).parent
        names = [row['file_name'] for row in load(root, split)[0]['images']]
        assert names
        assert all((root / name).is_file() for name in names), folder


def test_a_supercategory_that_is_no_text_groups_nothing(make_export):
    root = make_export('roboflow')
    file = root / 'train/_annotations.coco.json'
    content = json.loads(file.read_text())
    content['categories'][-1]['supercategory'] = [1]
    file.write_text(json.dumps(content))
    assert load(root)[0].classes == ('disc', 'star')


def test_a_subset_of_cvat_alone_is_divided(make_export):
    root = make_export('cvat_task')
    file = root / 'annotations/instances_default.json'
    file.rename(file.with_name('instances_train.json'))
    (root / 'images/default').rename(root / 'images/train')
    assert sum(len(load(root, split)[0]['images']) for split in ('train', 'val')) == 6


def test_a_group_may_have_the_name_of_a_class(make_export):
    """Roboflow's first category has that of the project."""
    root = make_export('roboflow')
    for split in ('train', 'valid'):
        file = root / split / '_annotations.coco.json'
        content = json.loads(file.read_text())
        content['categories'][0]['name'] = 'disc'
        for row in content['categories'][1:]:
            row['supercategory'] = 'disc'
        file.write_text(json.dumps(content))
    kept, notes = load(root)
    assert [row['id'] for row in kept['categories']] == [1, 2]
    assert kept.classes == ('disc', 'star')
    assert notes == ['left out, since it has no objects and groups the others: disc']

import os

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmscratch.data import coco_json, image_check, layouts, repoint
from mmscratch.data.exports import cache
from mmscratch.errors import InputError

from .conftest import Drawn, draw


def load(root, split='train'):
    file = repoint.annotation_path(layouts.find(root)[split])
    return coco_json.load(file), cache.source_of(file).notes


@pytest.mark.parametrize(
    ('line', 'fault'),
    [
        ('0 0.5 0.5 0.2', '4 numbers; write the class and x, y, width, height'),
        ('0 0.5 0.5 0.2 0.2 0.9', '6 numbers'),
        ('0 0.5 0.5 0.2 0.2 0.9 0.1 0.4', '8 numbers'),
        ('disc 0.5 0.5 0.2 0.2', 'write numbers'),
        ('0 0.5 nan 0.2 0.2', 'write finite numbers'),
        ('0.5 0.5 0.5 0.2 0.2', 'the first number is no class'),
        ('0 20 30 10 10', 'the numbers look like pixels'),
    ],
)
def test_bad_lines(make_export, line, fault):
    root = make_export('yolo')
    file = root / 'labels/train/1.txt'
    file.write_text(f'{file.read_text()}\n{line}\n')
    expected = f"1 labels are no good, the first is line 3 of {file}, '{line}': {fault}"
    with pytest.raises(InputError) as error:
        layouts.find(root)
    assert str(error.value).startswith(expected)


def test_unknown_class(make_export):
    root = make_export('yolo')
    (root / 'labels/train/1.txt').write_text('2 0.5 0.5 0.2 0.2\n')
    with pytest.raises(InputError, match=r'1\.txt: class 2, but .*data\.yaml names 2, from 0 on'):
        layouts.find(root)


@pytest.mark.parametrize(
    ('old', 'new', 'fault'),
    [
        ('  1: star', '  2: star', r'names has the keys 0, 2; number the classes from 0 on'),
        ('  1: star', '  .inf: star', r'names has the keys 0, inf; number the classes from 0 on'),
        ('val: images/val', 'val: images/nowhere', r'val: images/nowhere is neither below'),
        ('names:', 'names: [', r'data\.yaml: cannot be read \(while parsing'),
        ('train: images/train', 'train:', r"no images to train on; name the images after 'train:'"),
    ],
)
def test_bad_descriptions(make_export, old, new, fault):
    root = make_export('yolo')
    file = root / 'data.yaml'
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=fault) as error:
        layouts.find(root)
    assert '\n' not in str(error.value)


def test_a_list_of_missing_images(make_export):
    root = make_export('yolo_lists')
    with (root / 'train.txt').open('a') as file:
        file.write('images/gone.jpg\n')
    with pytest.raises(
        InputError, match=r'train\.txt: 1 of 5 images are not there, .* images/gone'
    ):
        layouts.find(root)


def test_labels_elsewhere(make_export):
    """All images without objects are a mistake, some are not."""
    root = make_export('yolo')
    assert load(root)[1] == [
        '1 images have no file of labels, so no objects; the first is '
        f'{root}/images/train/4_leer.jpg'
    ]
    (root / 'labels').rename(root / 'Labels')
    with pytest.raises(
        InputError, match=r'labels/train/1\.txt: no such file, nor labels of any of 6'
    ):
        layouts.find(root)


def test_labels_without_image(make_export):
    root = make_export('yolo')
    (root / 'images/train/1.jpg').unlink()
    expected = f'WARNING: 1 files of labels have no image, the first is {root}/labels/train/1.txt'
    assert expected in load(root)[1]


def test_broken_image(make_export):
    root = make_export('yolo')
    (root / 'images/val/5_turned.jpg').write_bytes(b'no image')
    with pytest.raises(
        InputError, match=r'5_turned\.jpg is not an image .* 1 of 6 images are unus'
    ):
        layouts.find(root)


def test_keypoints_are_left_out(make_export):
    root = make_export('yolo')
    with (root / 'data.yaml').open('a') as file:
        file.write('kpt_shape: [2, 3]\n')
    (root / 'labels/train/1.txt').write_text('0 0.5 0.5 0.25 0.5 0.1 0.1 2 0.2 0.2 1\n')
    content, notes = load(root)
    (row, *_) = content['annotations']
    assert row['bbox'] == [18, 10, 12, 20]
    assert 'segmentation' not in row
    assert any(note.startswith('1 objects have keypoints, which are left out') for note in notes)


@pytest.mark.parametrize(
    ('points', 'message'),
    [
        # an even number of keypoints would pass for a polygon
        ('0.1 0.1 2 0.2 0.2 1', r'look like boxes with 2 keypoints, .* kpt_shape: \[2, 3\] into'),
        ('0.1 0.1 2', r'8 numbers; .*; for keypoints write kpt_shape into data\.yaml'),
    ],
)
def test_keypoints_that_nothing_tells(make_export, points, message):
    root = make_export('yolo')
    for label in root.rglob('*.txt'):
        label.write_text(f'0 0.5 0.5 0.25 0.5 {points}\n')
    with pytest.raises(InputError, match=message):
        layouts.find(root)


def test_classes_without_names(make_export):
    root = make_export('yolo_flat')
    (root / 'labels/classes.txt').unlink()
    content, notes = load(root)
    assert content.classes == ('0', '1')
    assert f'{root}: no data.yaml or classes.txt names the classes: called 0 to 1' in notes
    # the number of a track, in place of that of a class
    next((root / 'labels').rglob('*.txt')).write_text('2000000000 0.5 0.5 0.2 0.2\n')
    with pytest.raises(
        InputError, match=r'highest class of its labels is 2e\+09, and no data\.yaml'
    ):
        load(root)


def test_images_outside_of_the_folder(make_export, tmp_path):
    """As a YAML may name them; links to folders count as where they stand."""
    root = make_export('yolo')
    draw(Drawn('8.jpg', 'train', 40, 40, []), tmp_path / 'far/images/8.jpg')
    os.symlink(tmp_path / 'far', tmp_path / 'link')
    file = root / 'data.yaml'
    file.write_text(
        file.read_text().replace('images/train\n', f'[images/train, {tmp_path}/link/images]\n')
    )
    reads = layouts.find(root)['train']
    names = [row['file_name'] for row in load(root)[0]['images']]
    assert names[0] == '../far/images/8.jpg'
    assert (root / reads['data_prefix']['img'] / names[0]).is_file()


def test_a_file_of_another_name(make_export):
    root = make_export('yolo')
    (root / 'data.yaml').rename(root / 'pets.yaml')
    assert len(load(root)[0]['images']) == 4
    (root / 'other.yaml').write_bytes((root / 'pets.yaml').read_bytes())
    with pytest.raises(
        InputError, match=r'2 files describe data .* other\.yaml, pets\.yaml; leave'
    ):
        layouts.find(root)


def test_a_description_without_splits(make_export):
    """As supervision writes it: names alone."""
    root = make_export('yolo_roboflow')
    (root / 'data.yaml').write_text('nc: 2\nnames: [disc, star]\n')
    assert load(root)[0].classes == ('disc', 'star')
    assert [len(load(root, split)[0]['images']) for split in ('train', 'val')] == [4, 2]


def test_a_folder_that_only_sounds_like_a_split(make_export):
    root = make_export('yolo_flat')
    for kind in ('images', 'labels'):
        (root / kind / 'unter').rename(root / kind / 'test bench')
    assert sum(len(load(root, split)[0]['images']) for split in ('train', 'val')) == 6


def test_lists_in_a_folder_of_their_own(make_export):
    root = make_export('yolo_lists')
    (root / 'lists').mkdir()
    for split in ('train', 'val'):
        file = root / f'{split}.txt'
        file.write_text(file.read_text().replace('images/', '../images/'))
        file.rename(root / f'lists/{split}.txt')
    file = root / 'data.yaml'
    file.write_text(
        file.read_text()
        .replace('train.txt', 'lists/train.txt')
        .replace(' val.txt', ' lists/val.txt')
    )
    content = load(root)[0]
    assert content['images'][0]['file_name'] == 'images/1.jpg'
    assert len(content['annotations']) == 4


def test_a_shape_of_keypoints_that_is_no_numbers_counts_for_nothing(make_export):
    root = make_export('yolo')
    with (root / 'data.yaml').open('a') as file:
        file.write('kpt_shape: [2!, 3]\n')
    content, _ = load(root)
    assert content['annotations']


def test_images_of_a_neighbour_are_not_taken(make_export):
    """Roboflow writes ../train/images for train/images, and others unzip beside it."""
    root = make_export('yolo_roboflow')
    draw(Drawn('9.jpg', 'train', 40, 40, []), root.parent / 'train/images/9.jpg')
    names = [row['file_name'] for row in load(root)[0]['images']]
    assert [name.partition('/images/')[0] for name in names] == ['train'] * 4


def test_copies_that_ultralytics_keeps_as_arrays_are_no_images(make_export, monkeypatch):
    """With ``cache: disk`` it writes x.npy, in the order BGR, beside x.jpg."""
    root = make_export('yolo')
    for image in [*root.rglob('*.jpg')]:
        np.save(image.with_suffix('.npy'), np.zeros((9, 9, 3), np.uint8))
    np.save(root / 'images/val/7.npy', np.zeros((9, 9, 3), np.uint8))
    told: list[str] = []
    monkeypatch.setattr(image_check, 'print_log', lambda text, **_: told.append(text))
    assert [len(load(root, split)[0]['images']) for split in ('train', 'val')] == [4, 3]
    assert [text.partition(' (.npy)')[0] for text in told] == [
        f'{root}/images/train: 4 arrays',
        f'{root}/images/val: 2 arrays',
    ]


def test_links_are_followed(make_export):
    """``images`` may be a link, and one below it may lead back."""
    root = make_export('yolo_flat')
    (root / 'images').rename(root.parent / 'photos')
    os.symlink(root.parent / 'photos', root / 'images')
    (root / 'labels/unter').rename(root.parent / 'texts')
    os.symlink(root.parent / 'texts', root / 'labels/unter')
    os.symlink(root.parent / 'photos', root.parent / 'photos/unter/again')
    assert sum(len(load(root, split)[0]['images']) for split in ('train', 'val')) == 6


def test_images_in_both_lists_are_told_in_every_format(make_export):
    root = make_export('yolo_lists')
    for file in [*root.rglob('*.jpg')]:
        Image.open(file).save(file.with_suffix('.bmp'))
        file.unlink()
    names = (root / 'train.txt').read_text().replace('.jpg', '.bmp')
    (root / 'train.txt').write_text(names)
    (root / 'val.txt').write_text(names.splitlines()[0])
    cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    layouts.use_folder(cfg, root)
    _, val = layouts.check(cfg)
    assert any('1 of the 1 validation images are training images too' in n for n in val.notes)


def test_names_that_are_not_utf8(make_export):
    """As zip files of Windows have them."""
    root = make_export('yolo')
    file = root / 'images/train/1.jpg'
    os.rename(file, os.fsencode(file.parent) + b'/\xd6\xd0.jpg')
    with pytest.raises(InputError, match=r'udcd6.udcd0\.jpg: the name is not UTF-8 .*"convmv -r'):
        layouts.find(root)


def test_class_names_beside_the_labels(make_export):
    """LabelImg writes them there, once a folder."""
    root = make_export('yolo_flat')
    (root / 'labels/classes.txt').rename(root / 'labels/unter/classes.txt')
    assert load(root)[0].classes == ('disc', 'star')
    (root / 'labels/classes.txt').write_text('star\ndisc\n')
    with pytest.raises(InputError, match=r'unter/classes\.txt: has other classes than .*leave'):
        layouts.find(root)


@pytest.mark.parametrize('name', ['no', 'null'])
def test_names_that_yaml_takes_for_others(make_export, name):
    root = make_export('yolo')
    file = root / 'data.yaml'
    file.write_text(file.read_text().replace('disc', name))
    with pytest.raises(InputError, match=r'one of the names is read as .*put it in quotes'):
        layouts.find(root)

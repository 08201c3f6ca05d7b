import hashlib
import io
import json
import os
import shutil
import struct
import zlib
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmscratch.data import coco_folder, coco_json, layouts
from mmscratch.data.annotation_file import files_of
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_decoding import decode_all
from mmscratch.errors import InputError


def config(root, drop_bad_boxes=False, **train) -> Config:
    folder = coco_folder.find(root)

    def loader(split):
        return dict(dataset=dict(type='CocoDataset', **folder[split]))

    cfg = Config(dict(train_dataloader=loader('train'), val_dataloader=loader('val')))
    cfg.train_dataloader.dataset.update(train)
    cfg.drop_bad_boxes = drop_bad_boxes
    return cfg


def check(root, **kwargs) -> dict[str, DataReport]:
    return dict(zip(('train', 'val'), layouts.check(config(root, **kwargs))))


def refusal(root, **kwargs) -> str:
    """The message of the error, which has to be one line."""
    with pytest.raises(InputError) as error:
        check(root, **kwargs)
    message = str(error.value)
    assert '\n' not in message
    return message


def spoil_train(edit):
    """A change of the training JSON alone."""
    return lambda name, data: edit(data) if name == 'train' else None


def test_good_folder(make_coco):
    root = make_coco()
    reports = check(root, filter_cfg=dict(filter_empty_gt=True, min_size=42))
    train = reports['train']
    assert (train.images, train.annotations, train.masks) == (3, 4, 4)
    assert train.classes == ('star', 'disc')
    # those of the image that min_size drops are not trained on
    assert train.instances == {'star': 1, 'disc': 1}
    assert train.sizes == {'small': 2, 'medium': 0, 'large': 0}  # 20 x 30 = 600 < 32^2
    assert train.empty_classes == ()
    assert len(train.fingerprints) == 3
    content = (root / 'annotations/instances_train.json').read_bytes()
    assert train.sha256 == hashlib.sha256(content).hexdigest()
    assert train.notes == [
        '1 of 3 images are without objects: dropped (filter_empty_gt=True)',
        '1 images have a side under 42 pixels: dropped (min_size)',
    ]
    assert reports['val'].notes == []
    lines = '\n'.join(train.lines())
    for text in (
        '3 images, 2 objects (2 small',
        '2 classes, masks for all',
        'star 1',
        train.sha256,
    ):
        assert text in lines
    assert lines.endswith(train.sha256)


def test_coco_names_and_empty_images_kept(make_coco):
    reports = check(make_coco(suffix='2017'))
    assert reports['train'].notes == ['1 of 3 images are without objects: kept']


def test_sizes_and_unusable_objects(make_coco):
    def edit(data):
        for image in data['images']:
            image['width'] = image['height'] = 200
        rows = data['annotations']
        rows[0].update(bbox=[0, 0, 32, 32], area=32 * 32)  # medium from 1024 on
        rows[1].update(bbox=[0, 0, 96, 96], area=96 * 96)  # large from 9216 on
        rows[2].update(iscrowd=1)
        rows[3].update(bbox=[0, 0, 0.5, 20])  # thinner than a pixel

    root = make_coco(spoil_train(edit))
    for number in (1, 2, 3):
        Image.new('RGB', (200, 200)).save(root / f'train/{number}.png')
    report = check(root)['train']
    assert report.sizes == {'small': 0, 'medium': 1, 'large': 1}
    assert report.instances == {'star': 1, 'disc': 1}
    assert any(note.startswith('1 boxes are thinner than 1 pixel') for note in report.notes)
    assert '1 images have nothing but crowds, ignored or left-out boxes: kept' in report.notes


def test_class_without_object_is_named(make_coco):
    def edit(data):
        data['annotations'] = [row for row in data['annotations'] if row['category_id'] == 7]

    report = check(make_coco(spoil_train(edit)))['train']
    assert report.empty_classes == ('disc',)
    assert 'classes without an object: disc' in report.lines()


def drop(section, key):
    return lambda data: data[section][1].pop(key)


def put(section, **values):
    return lambda data: data[section][1].update(values)


BAD_JSON = {
    'no images': (lambda d: d.update(images=[]), "'images' is empty"),
    'no annotations': (lambda d: d.update(annotations=[]), "'annotations' is empty"),
    'no categories': (lambda d: d.update(categories=[]), "'categories' is empty"),
    'section missing': (lambda d: d.pop('annotations'), "has no 'annotations'"),
    'section of another kind': (lambda d: d.update(images={}), "'images' is not a list"),
    'Infinity in a row of another kind': (
        lambda d: d['annotations'].insert(0, [float('inf')]),
        '1 values are Infinity; correct or remove them',
    ),
    'row of another kind': (lambda d: d['images'].append(3), "'images' is not a list of objects"),
    'image id twice': (put('images', id=1), '1 image ids occur more than once, the first is 1'),
    'file name twice': (put('images', file_name='1.png'), 'file names occur more than once'),
    'annotation id twice': (put('annotations', id=10), 'annotation ids occur more than once'),
    'category id twice': (put('categories', id=7), 'category ids occur more than once'),
    'category name twice': (put('categories', name='star'), 'category names occur more than once'),
    'unknown image': (put('annotations', image_id=99), 'annotation 11 with image_id 99'),
    'unknown category': (put('annotations', category_id=9), 'annotation 11 with category_id 9'),
    'text for an id': (put('annotations', image_id='1'), "image_id='1'; give each one a int"),
    'no width': (drop('images', 'width'), "with no 'width'; give each one a int, its width"),
    'zero height': (put('images', height=0), "image '2.png' has height 0"),
    'no bbox': (drop('annotations', 'bbox'), "with no 'bbox'"),
    'bbox of three': (put('annotations', bbox=[1, 2, 3]), 'annotation 11: [1, 2, 3]'),
    'bbox of many digits': (
        put('annotations', bbox=[1, 2, 10**400, 4]),
        'one of the boxes has a number beyond 1e+18',
    ),
    'area of many digits': (
        put('annotations', area=10**400),
        'the area of some annotations is beyond 1.8e+19',
    ),
    'infinite box': (put('annotations', bbox=[0, 0, 1e300, 9]), 'one of the boxes has a number'),
    'id of many digits': (put('annotations', id=10**400), 'the id of some annotations is beyond'),
    'far polygon': (
        put('annotations', segmentation=[[0, 0, 1e9, 0, 1e9, 9]]),
        'points more than 100,000 pixels away',
    ),
    'long outline': (
        put('annotations', segmentation=[[0, 0, 9e4, 0, 0, 9e4] * 100]),
        'outlines are 1,000 times as long as width and height of their image',
    ),
    'width of many digits': (put('images', width=10**400), 'the width of some images is beyond'),
    'half of a character': (
        put('categories', name='nut \ud83d'),
        r"category name 'nut \ud83d' holds half of a character",
    ),
    'bbox of text': (put('annotations', bbox=[1, 2, '3', 4]), "annotation 11: [1, 2, '3', 4]"),
    'NaN': (put('annotations', area=float('nan')), '1 values are NaN, the first in annotation 11'),
    'no area key': (drop('annotations', 'area'), "with no 'area'"),
    'no iscrowd key': (drop('annotations', 'iscrowd'), "with no 'iscrowd'"),
    'box outside': (
        put('annotations', bbox=[48, 0, 5, 5]),
        '1 of 4 boxes lie outside their image or have no area, the first lies outside the image: '
        "annotation 11 of '1.png' (48 x 41) with bbox [48, 0, 5, 5]",
    ),
    'box without area': (put('annotations', bbox=[1, 1, 0, 5]), 'the first has no area'),
    'mask without area': (put('annotations', area=0), 'the first has no area'),
    'flat polygon': (put('annotations', segmentation=[1, 1, 5, 1, 5, 5]), 'are neither polygons'),
    'RLE of another size': (
        put('annotations', segmentation={'size': [48, 41], 'counts': 'abc'}),
        'the first is that of annotation 11',
    ),
    'size not that of the file': (
        put('images', width=42, height=48),
        "'2.png': 42 x 48 in the JSON, 48 x 42 when loaded",
    ),
    'image missing': (put('images', file_name='x.png'), '1 of 3 images are not in'),
    'name that leads out': (put('images', file_name='../val/4.jpg'), ', which leads out of it'),
    'absolute name': (put('images', file_name='/etc/passwd'), ', which leads out of it'),
    'long folder': (put('images', file_name='a' * 5000 + '/2.png'), '1 of 3 images are not in'),
    'folder missing': (put('images', file_name='a/2.png'), "the first is 'a/2.png'"),
}


@pytest.mark.parametrize(
    ('in_json', 'on_disk', 'cure'),
    [
        ('caf\u00e9.png', 'cafe\u0301.png', '--nfc'),
        ('cafe\u0301.png', 'caf\u00e9.png', '--nfd'),
        ('\u00fc/\ud55c.png', 'u\u0308/\u1112\u1161\u11ab.png', '--nfc'),
        ('IMG_1.jpg', 'IMG_1.JPG', 'letter case counts'),
        ('Photos/1.png', 'photos/1.png', 'letter case counts'),
        ('\u00c9.png', 'e\u0301.png', 'letter case counts'),
    ],
)
def test_a_file_of_nearly_the_same_name_is_told(make_coco, in_json, on_disk, cure):
    root = make_coco()
    file = root / 'annotations/instances_train.json'
    data = json.loads(file.read_text())
    before = root / 'train' / data['images'][1]['file_name']
    (root / 'train' / on_disk).parent.mkdir(exist_ok=True)
    before.rename(root / 'train' / on_disk)
    data['images'][1]['file_name'] = in_json
    file.write_text(json.dumps(data))
    with pytest.raises(InputError) as error:
        check(root)
    message = str(error.value)
    assert f"the first is '{in_json}', and '{on_disk}' is there: " in message
    assert cure in message
    assert '\n' not in message


@pytest.mark.parametrize('case', BAD_JSON)
def test_bad_json_is_refused(make_coco, case):
    edit, expected = BAD_JSON[case]
    root = make_coco(spoil_train(edit))
    message = refusal(root)
    assert message.startswith(f'{root / "annotations/instances_train.json"}: ')
    assert expected in message
    assert '; ' in message  # the cure


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'{"images": [1,\n 2,, 3]}', 'broken JSON at line 2, column 4'),
        (b'', 'broken JSON at line 1, column 1'),
        (b'\x1f\x8b\x08', 'not UTF-8 text from byte 1 on'),
        (b'[1, 2]', 'holds a list'),
        (b'[' * 100000, 'cannot be read (maximum recursion depth'),
        (b'{"area": ' * 100_000, 'cannot be read (maximum recursion depth'),
        (b'[' + b'9' * 5000 + b']', 'cannot be read (Exceeds the limit'),
    ],
)
def test_broken_file_is_refused(make_coco, content, expected):
    root = make_coco()
    file = root / 'annotations/instances_val.json'
    file.write_bytes(content)
    message = refusal(root)
    assert message.startswith(f'{file}: {expected}')


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'instances\.json: cannot be read \(No such file'):
        coco_json.load(tmp_path / 'instances.json')


def test_bad_boxes_can_be_left_out(make_coco):
    def edit(data):
        data['annotations'][0]['bbox'] = [10, 10, 5, 0]
        data['annotations'][1]['bbox'] = [-20, 5, 10, 10]

    report = check(make_coco(spoil_train(edit)), drop_bad_boxes=True)['train']
    assert report.instances == {'star': 1, 'disc': 1}
    assert '2 boxes lie outside their image or have no area: left out of training' in report.notes


@pytest.mark.parametrize(('x', 'told'), [(-1.0, False), (-1.1, True), (29.0, False), (29.1, True)])
def test_boxes_sticking_out_by_more_than_a_pixel_are_told(make_coco, x, told):
    # The image is 48 wide, the box 20.
    report = check(make_coco(spoil_train(put('annotations', bbox=[x, 5, 20, 20]))))['train']
    stick = [note for note in report.notes if 'stick out' in note]
    assert stick == (
        ['1 boxes stick out of their image by more than 1 pixel: MMDetection clips them'] * told
    )
    assert report.instances['disc'] == 2


def test_short_polygon_is_told(make_coco):
    edit = put('annotations', segmentation=[[1, 1, 5, 5], [0, 0, 9, 0, 9, 9]])
    report = check(make_coco(spoil_train(edit)))['train']
    assert report.masks == 4
    assert any('polygons without 3 points' in note for note in report.notes)


def cut(file):
    file.write_bytes(file.read_bytes()[:-20])


def become_pipe(file):
    file.unlink()
    os.mkfifo(file)


def become_huge(file):
    """A PNG whose header says 40,000 x 40,000 pixels; the checksum of the header is right."""
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack('>II', 40_000, 40_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    file.write_bytes(data)


def scribble(file):
    file.write_text('<html>404</html>')


@pytest.mark.parametrize(
    ('name', 'spoil', 'expected'),
    [
        ('train/2.png', cut, 'is cut short'),
        ('val/5.jpg', cut, 'is cut short'),
        ('train/2.png', scribble, 'is not an image (16 bytes)'),
        ('train/2.png', become_pipe, 'cannot be read ([Errno 22] it is no regular file'),
        ('train/2.png', become_huge, 'has 40000 x 40000 pixels, 3 channels of uint8, and 1,073,'),
        ('val/5.jpg', lambda file: file.write_bytes(b''), 'is not an image (0 bytes)'),
    ],
)
def test_bad_image_is_refused(make_coco, name, spoil, expected):
    root = make_coco()
    spoil(root / name)
    message = refusal(root)
    assert message.startswith(f'{root / name} {expected}')
    assert 'replace them' in message


def test_bytes_after_the_end_marker_are_fine(make_coco):
    root = make_coco()
    for name in ('train/2.png', 'val/5.jpg'):
        with (root / name).open('ab') as file:
            file.write(bytes(3000))
    check(root)


def test_size_is_that_after_exif_rotation(make_coco):
    root = make_coco()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    buffer = io.BytesIO()
    Image.open(root / 'val/5.jpg').save(buffer, 'jpeg', exif=exif)
    (root / 'val/5.jpg').write_bytes(buffer.getvalue())
    assert "'5.jpg': 48 x 45 in the JSON, 45 x 48 when loaded" in refusal(root)


def test_orientation_as_text_is_none(make_coco):
    """For OpenCV, too, which reads another number there."""
    root = make_coco()
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(root / 'val/5.jpg').save(buffer, 'jpeg', exif=exif)
    number, text = (bytes.fromhex(f'0112 000{kind}') for kind in (3, 2))
    entry = number + bytes.fromhex('0000 0001 0006 0000')
    assert entry in buffer.getvalue()
    content = buffer.getvalue().replace(entry, text + bytes.fromhex('0000 0002') + b'6\0\0\0')
    (root / 'val/5.jpg').write_bytes(content)
    assert cv2.imread(str(root / 'val/5.jpg')).shape == (45, 48, 3)
    check(root)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('channels', [(), (3,)])
def test_16_bits_are_told(make_coco, suffix, channels):
    """Of 12 bits, as medical images have them, OpenCV leaves 4."""
    root = make_coco(spoil_train(put('images', file_name=f'2{suffix}')))
    file = root / f'train/2{suffix}'
    cv2.imwrite(str(file), np.full((42, 48, *channels), 4095, np.uint16))
    assert cv2.imread(str(file)).max() <= 16
    notes = check(root)['train'].notes
    assert '1 images have 16 bits a channel: only the upper 8 are used; rescale them' in notes[-1]


@pytest.mark.parametrize(
    ('name', 'mode', 'expected'),
    [
        ('2.tga', 'RGB', 'is in the format TGA, which OpenCV cannot load (save it as PNG)'),
        ('2.pcx', 'RGB', 'is in the format PCX, which OpenCV cannot load (save it as PNG)'),
        ('2.tif', 'F', 'has 32 bits a channel, which OpenCV cannot load (rescale it to 8 bits)'),
        ('2.tif', 'I', 'has 32 bits a channel, which OpenCV cannot load (rescale it to 8 bits)'),
    ],
)
def test_what_opencv_cannot_load_is_refused(make_coco, name, mode, expected):
    root = make_coco(spoil_train(put('images', file_name=name)))
    Image.new(mode, (48, 42)).save(root / 'train' / name)
    assert cv2.imread(str(root / 'train' / name)) is None
    message = refusal(root)
    assert message.startswith(f'{root / "train" / name} {expected}; 1 of 3 images are unusable')


@pytest.mark.parametrize('name', ['2.bmp', '2.tif', '2.webp', '2.ppm'])
def test_other_formats_are_fine(make_coco, name):
    root = make_coco(spoil_train(put('images', file_name=name)))
    Image.new('RGB', (48, 42)).save(root / 'train' / name)
    assert cv2.imread(str(root / 'train' / name)) is not None
    assert len(check(root)['train'].notes) == 1  # of the image without objects


def test_images_in_subfolders(make_coco):
    def edit(data):
        data['images'][1]['file_name'] = 'deep/2.png'

    root = make_coco(spoil_train(edit))
    (root / 'train/deep').mkdir()
    (root / 'train/2.png').rename(root / 'train/deep/2.png')
    check(root)


def test_image_of_both_splits_is_told(make_coco):
    def edit(data):
        data['images'][0].update(file_name='renamed.png', height=41)

    root = make_coco(lambda name, data: edit(data) if name == 'val' else None)
    (root / 'val/renamed.png').write_bytes((root / 'train/1.png').read_bytes())
    notes = check(root)['val'].notes
    assert len(notes) == 1
    assert (
        "1 of the 2 validation images are training images too, the first is 'renamed.png' ("
        in (notes[0])
    )


@pytest.mark.parametrize(
    ('edit', 'expected'),
    [
        (lambda d: d['categories'].reverse(), 'lists its categories in another order'),
        (
            lambda d: d['categories'][1].update(name='square'),
            "2 category names, the first is 'disc'",
        ),
    ],
)
def test_splits_with_other_classes_are_refused(make_coco, edit, expected):
    def change(name, data):
        if name == 'val':
            edit(data)

    message = refusal(make_coco(change))
    assert expected in message
    assert 'instances_val.json: ' in message
    assert 'instances_train.json' in message


def test_check_config_follows_wrappers_and_filter(make_coco):
    cfg = config(make_coco(), filter_cfg=dict(filter_empty_gt=True))
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner])
    )
    train, val = layouts.check(cfg)
    assert (train.images, val.images) == (3, 2)
    assert 'dropped' in train.notes[0]


def test_check_config_reads_drop_bad_boxes(make_coco):
    cfg = config(make_coco(spoil_train(put('annotations', area=0))))
    with pytest.raises(InputError, match='--drop-bad-boxes'):
        layouts.check(cfg)
    cfg.drop_bad_boxes = True
    train, _ = layouts.check(cfg)
    assert '1 boxes lie outside their image or have no area' in train.notes[0]


def test_check_config_names_the_missing_file(make_coco, tmp_path):
    cfg = config(make_coco())
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(InputError, match=r'instances_train\.json: cannot be read .* --data DIR'):
        layouts.check(cfg)


def test_report_agrees_with_what_mmdetection_loads(make_coco):
    """The counts are those of CocoDataset, empty and thin boxes included."""
    from mmdet.datasets import CocoDataset

    def edit(data):
        data['annotations'][0]['bbox'] = [10, 10, 0.5, 20]
        data['annotations'][1]['area'] = 0

    root = make_coco(spoil_train(edit))
    report = check(root, drop_bad_boxes=True)['train']
    dataset = CocoDataset(
        ann_file=str(root / 'annotations/instances_train.json'),
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=report.classes),
        pipeline=[],
    )
    labels = [i['bbox_label'] for image in dataset for i in image['instances']]
    counts = {name: labels.count(label) for label, name in enumerate(report.classes)}
    assert counts == report.instances == {'star': 1, 'disc': 1}


LOADS_MASKS = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)]


def every(**values):
    """A change that gives all training annotations these values."""

    def edit(data):
        for row in data['annotations']:
            row.update(values)

    return spoil_train(edit)


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        (dict(iscrowd=1), '4 are crowds'),
        (dict(ignore=1), '4 are marked to be ignored'),
        (dict(bbox=[5.0, 5.0, 0.5, 20.0]), '4 boxes are thinner than 1 pixel'),
        (dict(bbox=[900.0, 5.0, 20.0, 20.0]), '4 boxes lie outside their image or have no area'),
        (dict(segmentation=[[1, 2, 3, 4]]), '4 masks have no polygon of 3 points'),
        (dict(segmentation=[[]]), '4 masks have no polygon of 3 points'),
    ],
)
def test_nothing_to_train_on_is_refused_with_the_reason(make_coco, values, reason):
    message = refusal(make_coco(every(**values)), drop_bad_boxes=True, pipeline=LOADS_MASKS)
    assert f'none of its 4 objects can be trained on: {reason}' in message


def test_all_images_too_small_is_refused(make_coco):
    message = refusal(make_coco(), filter_cfg=dict(min_size=99))
    assert '4 are on images with a side under 99 pixels (min_size)' in message


def test_rle_masks_are_none_where_polygons_are_asked_for(make_coco):
    def change(name, data):
        height = {image['id']: image['height'] for image in data['images']}
        for row in data['annotations']:
            size = [height[row['image_id']], 48]
            row['segmentation'] = {'size': size, 'counts': [0, 48 * size[0]]}

    steps = [LOADS_MASKS[0], dict(LOADS_MASKS[1], poly2mask=False)]
    message = refusal(make_coco(change), pipeline=steps)
    assert '4 masks are RLEs, and poly2mask=False takes polygons alone' in message
    assert sum(check(make_coco(change), pipeline=LOADS_MASKS)['train'].instances.values()) == 4


def test_nothing_to_find_is_refused_with_the_reason(make_coco):
    def change(name, data):
        if name == 'val':
            for row in data['annotations']:
                row['iscrowd'] = 1

    assert 'none of its 4 objects can be found: 4 are crowds' in refusal(make_coco(change))


def test_evaluation_finds_what_training_leaves_out(make_coco):
    """COCO counts thin and ignored objects, so that a validation set of those is one."""

    def change(name, data):
        if name == 'val':
            data['annotations'][0].update(bbox=[5.0, 5.0, 0.5, 20.0])
            data['annotations'][1].update(ignore=1)
            data['annotations'][2:] = []

    report = check(make_coco(change))['val']
    assert (report.to_find, sum(report.instances.values())) == (2, 0)


@pytest.mark.parametrize(
    'segmentation', [[[0.1, 0.1, 0.9, 0.1, 0.9, 0.4]], [[900, 1, 950, 1, 950, 9]], [[5, 5] * 3]]
)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_masks_that_all_cover_no_pixel_are_refused(make_coco, split, segmentation):
    def change(name, data):
        for row in data['annotations'] if name == split else ():
            row['segmentation'] = segmentation

    root = make_coco(change)
    file = root / f'annotations/instances_{split}.json'
    cfg = config(root, pipeline=LOADS_MASKS)
    cfg.val_dataloader.dataset.pipeline = LOADS_MASKS
    with pytest.raises(InputError, match=f'{file}: there is no mask to train on or to find: 4 of'):
        layouts.check(cfg)
    # boxes alone are trained on all the same
    assert sum(check(root)[split].instances.values()) == 4


# [x, y, w, h], and [cx, cy, w, h], of which the sums can be above 1
@pytest.mark.parametrize('box', [[0.1, 0.2, 0.5, 0.25], [0.8, 0.5, 0.5, 0.25]])
@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('drop', [False, True])
def test_boxes_of_shares_in_place_of_pixels_are_named(make_coco, split, drop, box):
    def change(name, data):
        for row in data['annotations'] if name == split else ():
            row.update(bbox=box, area=0.125)

    message = refusal(make_coco(change), drop_bad_boxes=drop)
    assert f'instances_{split}.json: no object of 4 can be trained on or found' in message
    assert 'all boxes lie within 0..1' in message
    assert 'write pixels' in message


def test_a_share_that_is_dropped_is_told(make_coco):
    def edit(data):
        data['annotations'][0]['segmentation'] = [[]]
        data['annotations'][1]['segmentation'] = [[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]]

    report = check(make_coco(spoil_train(edit)), pipeline=LOADS_MASKS)['train']
    assert report.masks == 3
    assert sum(report.instances.values()) == 3
    assert any('1 masks have polygons without 3 points' in note for note in report.notes)
    assert any('1 of 3 masks cover no pixel' in note for note in report.notes)


def test_names_that_differ_in_white_space_alone_are_told(make_coco):
    def twice(data):
        data['categories'].append({'id': 9, 'name': 'star '})

    assert "white space around them, occur more than once, the first is 'star'" in refusal(
        make_coco(spoil_train(twice))
    )

    def other(data):
        data['categories'][0]['name'] = 'star\n'

    message = refusal(make_coco(spoil_train(other)))
    assert "the first is 'star'" in message
    assert 'also in the white space around their names' in message


def test_a_name_of_several_lines_is_one_line_of_the_report(make_coco):
    def change(name, data):
        data['categories'][0]['name'] = '\n star\n'

    lines = check(make_coco(change))['train'].lines()
    assert not any('\n' in line for line in lines)
    assert '  star 2   disc 2' in lines


def test_images_are_decoded_once(make_coco, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    cfg = config(make_coco(), pipeline=LOADS_MASKS)
    cfg.val_dataloader.dataset.pipeline = LOADS_MASKS
    file = tmp_path / 'data/train/2.png'
    sound = file.read_bytes()
    # the compressed pixels, between a header and an end that stay
    file.write_bytes(sound[:60] + bytes(len(sound) - 80) + sound[-20:])
    layouts.check(cfg)
    with pytest.raises(InputError, match=r'2\.png cannot be decoded; 1 of 3 images are unusable'):
        layouts.check(cfg, decode=True)
    file.write_bytes(sound)
    layouts.check(cfg, decode=True)
    seen = []
    monkeypatch.setattr(
        'mmcv.transforms.LoadImageFromFile.transform',
        lambda self, results: seen.append(results['img_path']) or dict(img_shape=(42, 48)),
    )
    layouts.check(cfg, decode=True)
    assert seen == []
    # one that has changed since is decoded again, and no other
    file.write_bytes(sound + b' ')
    layouts.check(cfg, decode=True)
    assert seen == [str(file)]


def test_a_fault_in_decoding_is_that_of_its_file(make_coco, tmp_path, monkeypatch):
    """Also where two names in the JSON stand for one file, and where there is no home."""

    def no_home():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr('pathlib.Path.home', no_home)
    folder = make_coco() / 'train'
    (folder / '3.png').write_bytes(b'nothing')
    names = ['1.png', './1.png', '2.png', '3.png']
    faults = decode_all(folder, [folder / name for name in names], LOADS_MASKS)
    assert faults == ['', '', '', 'cannot be decoded']


def test_an_image_that_is_loaded_in_another_size_is_at_fault(make_coco):
    file = make_coco() / 'train/1.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (48, 41)).save(file, exif=exif)
    load = dict(type='LoadImageFromFile', color_type='color_ignore_orientation')
    (fault,) = decode_all(file.parent, [file], [load])
    assert fault.startswith('has 48 x 41 pixels when loaded, and 41 x 48 by its header')


def test_a_broken_memory_is_none(make_coco, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folder = make_coco() / 'train'
    for content in ('', '{', '[' * 100000, 'null', '{"a": 5}'):
        decode_all(folder, [folder / '1.png'], LOADS_MASKS)
        [memory] = (tmp_path / 'mmscratch/decoded').iterdir()
        memory.write_text(content)
    assert decode_all(folder, [folder / '1.png'], LOADS_MASKS) == ['']


def test_annotation_ids_from_0_are_fine(make_coco):
    def change(name, data):
        for number, row in enumerate(data['annotations']):
            row['id'] = number

    assert check(make_coco(change))['train'].annotations == 4


def spoil_val(edit):
    return lambda name, data: edit(data) if name == 'val' else None


def annotation_0(data):
    data['annotations'][1]['id'] = 0


def huge_ids(data):
    data['images'][0]['id'] = 2**63 + 5
    for row in data['annotations'][:2]:
        row['image_id'] = 2**63 + 5


@pytest.mark.parametrize(
    ('edit', 'metric', 'fault'),
    [
        (annotation_0, {}, 'an annotation has the id 0'),
        (huge_ids, {}, r'ids of images or categories lie on both sides of 2\*\*63'),
        (lambda data: None, dict(classwise=True), 'category ids do not ascend'),
    ],
)
def test_ids_that_mmdetections_metric_cannot_take(make_coco, edit, metric, fault):
    root = make_coco(spoil_val(edit))
    cfg = config(root)
    file = root / 'annotations/instances_val.json'
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(file), **metric)
    with pytest.raises(InputError, match=rf"instances_val\.json: not for .*{fault}.*'FullCocoM"):
        layouts.check(cfg)
    cfg.val_evaluator = [dict(type='FullCocoMetric', ann_file=str(file))]
    layouts.check(cfg)
    if metric:
        cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(file))
        layouts.check(cfg)


@pytest.mark.parametrize(
    ('edit', 'fault'),
    [
        (lambda data: data['images'][0].update(file_name='other.png'), 'is other.png of 48 x'),
        (lambda data: data['images'][0].update(width=47), 'of 47 x'),
        (lambda data: data['annotations'].pop(), None),
        (lambda data: None, ''),
    ],
)
def test_a_metric_of_another_file(make_coco, monkeypatch, edit, fault):
    """Other images are refused, other content of the same images is told."""
    told = []
    monkeypatch.setattr(
        'mmscratch.data.coco_check.print_log', lambda line, **options: told.append(line)
    )
    root = make_coco()
    cfg = config(root)
    data = json.loads((root / 'annotations/instances_val.json').read_text())
    edit(data)
    (root / 'other.json').write_text(json.dumps(data))
    if fault == '':
        shutil.copy(root / 'annotations/instances_val.json', root / 'other.json')
    cfg.val_evaluator = dict(type='FullCocoMetric', ann_file=str(root / 'other.json'))
    if fault:
        with pytest.raises(InputError, match=rf'other\.json: val_evaluator reads this .*{fault}'):
            layouts.check(cfg)
    else:
        layouts.check(cfg)
        assert len(told) == (fault is None)


def test_images_with_more_objects_than_can_be_found(make_coco):
    """Crowds, and boxes that are left out, are not among them."""

    def change(name, data):
        row = data['annotations'][0]
        extra = [dict(row, id=1000 + k, category_id=7 - 4 * (k % 2)) for k in range(120)]
        extra += [dict(row, id=2000, iscrowd=1), dict(row, id=2001, bbox=[1, 1, 0.5, 9])]
        data['annotations'] += extra

    cfg = config(make_coco(change))
    cfg.model = dict(test_cfg=dict(rpn=dict(max_per_img=50), rcnn=dict(max_per_img=100)))
    cfg.val_evaluator = dict(type='FullCocoMetric', ann_file='')
    train, val = layouts.check(cfg)
    assert not [note for note in train.notes if 'max-detections' in note]
    (note,) = [note for note in val.notes if 'max-detections' in note]
    assert (
        '1 of 2 images have more objects than can be found, up to 122, of one class up to' in note
    )


def test_a_file_is_parsed_once(make_coco, monkeypatch):
    """Pointing a config at a folder, checking it, and the preflight's look at the classes."""
    root = make_coco()
    parsed = []
    decode = msgspec.json.decode
    monkeypatch.setattr(msgspec.json, 'decode', lambda text: parsed.append(1) or decode(text))
    cfg = config(root)
    cfg.model = dict(type='FasterRCNN', roi_head=dict(bbox_head=dict(num_classes=80)))
    layouts.use_folder(cfg, root)
    layouts.check(cfg)
    assert len(parsed) == 2
    coco_json.keep([])
    file = root / 'annotations/instances_train.json'
    dataset = SimpleNamespace(
        ann_file=str(file), cat_ids=[], metainfo=dict(classes=('star', 'disc'))
    )
    (found,) = files_of('train', dataset)
    assert len(parsed) == 2
    assert found.objects == {'star': 2, 'disc': 2}
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    # a file that has changed meanwhile is read anew
    file.write_text(file.read_text().replace('star', 'comet'))
    (found,) = files_of('train', dataset)
    assert found.objects == {'comet': 2, 'disc': 2}
    assert coco_json.load(file)['categories'][0]['name'] == 'comet'

import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest
from mmengine.config import Config

from mmscratch.data import coco_json, layouts
from mmscratch.data.samplers.subset import choose_ids, sha256_of_ids
from mmscratch.errors import InputError
from mmscratch.evaluation import pseudo_labels
from mmscratch.evaluation.pseudo_labels import HeldOut, ImageDetections, Threshold

CONFIG = Path(__file__).resolve().parents[2] / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
CLASSES = ('cat', 'dog')


def square(x: int) -> list[int]:
    return [x, 0, 10, 10]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images of 40 x 60 pixels, a cat and a dog on each; ids that begin at 5."""
    root = tmp_path / 'data'
    (root / 'annotations').mkdir(parents=True)
    for split, ids in (('train', range(5, 11)), ('val', range(2))):
        (root / split).mkdir()
        for i in ids:
            cv2.imwrite(str(root / split / f'{i}.png'), np.full((40, 60, 3), 20 * i, 'u1'))
        rows = [
            dict(id=2 * i + k, image_id=i, category_id=9 - k, bbox=square(20 * k), area=100)
            for i in ids
            for k in (0, 1)
        ]
        content = dict(
            images=[dict(id=i, file_name=f'{i}.png', width=60, height=40) for i in ids],
            categories=[dict(id=9, name='cat'), dict(id=8, name='dog')],
            annotations=[
                dict(row, iscrowd=0, segmentation=[[0, 0, 10, 0, 10, 10]]) for row in rows
            ],
        )
        file = root / f'annotations/instances_{split}.json'
        file.write_text(json.dumps(content))
    return root


def found(*objects: tuple[int, float, int], size: tuple[int, int] = (40, 60)) -> ImageDetections:
    """Squares at x with a score and a label."""
    mask = np.zeros(size, 'u1')
    mask[:10, :10] = 1
    rle = pycocotools.mask.encode(np.asfortranarray(mask))
    boxes = np.array([square(x) for x, _, _ in objects], float).reshape(-1, 4)
    masks = [dict(rle, counts=rle['counts'].decode()) for _ in objects]
    scores, labels = (np.array([each[k] for each in objects]) for k in (1, 2))
    return ImageDetections(boxes, scores, labels.astype(int), masks)


def held_out(tmp_path, objects: dict[int, list[tuple[int, int]]], crowds=()) -> HeldOut:
    """One image each, with squares at x of a class; those of crowds are a group."""
    rows = [(i, x, label) for i, each in objects.items() for x, label in each]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=900, height=40) for i in objects],
        categories=[dict(id=9, name='cat'), dict(id=8, name='dog')],
        annotations=[
            dict(id=n, image_id=i, category_id=9 - label, bbox=square(x), area=100)
            | dict(iscrowd=int((i, x) in crowds))
            for n, (i, x, label) in enumerate(rows)
        ],
    )
    file = tmp_path / 'held_out.json'
    file.write_text(json.dumps(content))
    return HeldOut(coco_json.load(file), list(objects), [], 'images')


def test_the_threshold_is_that_of_the_highest_f1(tmp_path):
    cats = [(20 * k, 0) for k in range(5)]
    # 10 cats, a crowd of them, and 3 dogs
    judged = held_out(
        tmp_path,
        {7: [*cats, (800, 0)], 3: [*cats, *((200 + 20 * k, 1) for k in range(3))]},
        {(7, 800)},
    )
    cat, dog = 0, 1
    detections = [
        # within the crowd: neither right nor wrong; a second one of a cat is wrong
        found((800, 0.95, cat), (0, 0.9, cat), (0, 0.7, cat), (20, 0.6, cat), (40, 0.6, cat)),
        found((0, 0.8, cat), (20, 0.6, cat), (600, 0.3, cat), (200, 0.5, dog), (700, 0.1, dog)),
    ]
    chosen = pseudo_labels.choose_thresholds(judged, detections, CLASSES)
    # at 0.6: 5 of 6 are right, 5 of 10 found; at 0.8: 2 of 2 and 2 of 10; at 0.3: 5 of 7
    assert chosen['cat'] == Threshold(0.6, 10, pytest.approx(10 / 16), 5 / 6, 5 / 10)
    # too few: 0.5 is the best for all, 6 of 7 right and 6 of 13 found
    assert chosen['dog'] == Threshold(0.5, 3, pytest.approx(2 / 4), 1, 1 / 3, is_pooled=True)


def test_a_teacher_that_finds_nothing_is_told(tmp_path):
    judged = held_out(tmp_path, {1: [(0, 0)], 2: [(0, 1)]})
    for detections in ([found(), found()], [found((500, 0.9, 0)), found()]):
        with pytest.raises(InputError, match='finds none of the 2 objects of the 2 images'):
            pseudo_labels.choose_thresholds(judged, detections, CLASSES)


def meta_of(folder: Path, checkpoint: Path, seen: list | None, seed: int | None = 0) -> dict:
    """What a teacher's checkpoint says, whose subset.json is beside it."""
    sha256 = hashlib.sha256((folder / 'annotations/instances_train.json').read_bytes()).hexdigest()
    subset = None
    if seen is not None:
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.with_name('subset.json').write_text(json.dumps(seen))
        subset = dict(sha256=sha256_of_ids(seen), seed=seed)
    return dict(preflight=dict(annotations=[dict(split='train', sha256=sha256)], subset=subset))


def test_images_are_divided_by_what_the_teacher_has_seen(folder, tmp_path):
    checkpoint = tmp_path / 'teacher/iter_9.pth'
    meta = meta_of(folder, checkpoint, [6, 8])
    division = pseudo_labels.divide(folder, checkpoint, meta, None)
    assert (division.labelled, division.held_out) == ([6, 8], [])
    assert [row['id'] for row in division.unlabelled] == [5, 7, 9, 10]
    (tmp_path / 'ids.txt').write_text('8\n10\n6\n')
    division = pseudo_labels.divide(folder, checkpoint, meta, str(tmp_path / 'ids.txt'))
    assert (sorted(division.labelled), division.held_out) == ([6, 8, 10], [10])
    judged = pseudo_labels.held_out(folder, division, val=False)
    assert judged.files == [folder / 'train/10.png']
    judged = pseudo_labels.held_out(folder, division, val=True)
    assert (judged.ids, judged.files[1]) == ([0, 1], folder / 'val/1.png')
    assert judged.which == 'validation images'
    # a number: the draw of which the teacher's is the smaller part
    draw = choose_ids(range(5, 11), 4, 3)
    meta = meta_of(folder, checkpoint, draw[:2], seed=3)
    division = pseudo_labels.divide(folder, checkpoint, meta, '4')
    assert (set(division.labelled), set(division.held_out)) == (set(draw), set(draw[2:]))
    with pytest.raises(InputError, match=r'--labelled 7: .*train\.json has 6 images with objects'):
        pseudo_labels.divide(folder, checkpoint, meta, '7')


def test_a_teacher_of_other_images_is_refused(folder, tmp_path):
    checkpoint = tmp_path / 'teacher/iter_9.pth'
    meta = meta_of(folder, checkpoint, [6, 8])
    (tmp_path / 'ids.txt').write_text('8\n10\n')
    with pytest.raises(InputError, match='lacks images that the teacher was trained on'):
        pseudo_labels.divide(folder, checkpoint, meta, str(tmp_path / 'ids.txt'))
    checkpoint.with_name('subset.json').write_text('[5, 6]')
    with pytest.raises(InputError, match=r'subset\.json: is of another run than iter_9\.pth'):
        pseudo_labels.divide(folder, checkpoint, meta, None)
    file = folder / 'annotations/instances_train.json'
    file.write_text(file.read_text() + '\n')
    with pytest.raises(InputError, match=r'was not trained on .*train\.json as it is now'):
        pseudo_labels.divide(folder, checkpoint, meta, None)


def test_what_is_written_is_a_data_set_for_the_student(folder, tmp_path):
    checkpoint = tmp_path / 'teacher/iter_9.pth'
    meta = meta_of(folder, checkpoint, [6, 8])
    division = pseudo_labels.divide(folder, checkpoint, meta, None)
    detections = [found((0, 0.9, 1), (20, 0.4, 1), (20, 0.6, 0)), *[found((0, 0.3, 0))] * 3]
    thresholds = dict(cat=Threshold(0.6), dog=Threshold(0.5))
    images = list(zip(division.unlabelled, detections))
    out = tmp_path / 'out'
    teacher = dict(file='iter_9.pth')
    counts = pseudo_labels.write(
        out, folder, division, images, None, thresholds, dict(teacher=teacher)
    )
    assert counts == dict(cat=1, dog=1)
    content = json.loads((out / 'annotations/instances_train.json').read_text())
    assert [row['id'] for row in content['images']] == [6, 8, 5, 7, 9, 10]
    given = json.loads((folder / 'annotations/instances_train.json').read_text())
    kept = [row for row in given['annotations'] if row['image_id'] in (6, 8)]
    assert content['annotations'][:4] == kept
    first, second = content['annotations'][4:]
    assert (first['category_id'], first['score'], first['pseudo']) == (8, 0.9, 1)
    assert (second['category_id'], second['score'], second['image_id']) == (9, 0.6, 5)
    assert second['bbox'] == square(20)
    assert len({row['id'] for row in content['annotations']}) == 6
    record = json.loads((out / 'labelled.json').read_text())
    assert (sorted(record['ids']), record['teacher']) == ([6, 8], teacher)
    assert not [path for path in out.rglob('*.png') if not path.resolve().is_relative_to(folder)]
    # links hold where both folders are moved
    moved = tmp_path / 'moved'
    moved.mkdir()
    for path in (folder, out):
        path.rename(moved / path.name)
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, moved / 'out')
    train, val = layouts.check(cfg, decode=True)
    assert (train.images, sum(train.instances.values()), val.images) == (6, 6, 2)
    assert cfg.train_dataloader.sampler.labelled == str(moved / 'out/labelled.json')


def test_without_masks_of_the_teacher_nothing_has_masks(folder, tmp_path):
    checkpoint = tmp_path / 'teacher/iter_9.pth'
    division = pseudo_labels.divide(folder, checkpoint, meta_of(folder, checkpoint, [6, 8]), None)
    boxes = [dataclasses.replace(found((0, 0.9, 0)), masks=None) for _ in division.unlabelled]
    assert pseudo_labels.drops_masks(division, boxes)
    assert not pseudo_labels.drops_masks(division, [found((0, 0.9, 0))])
    out = tmp_path / 'out'
    images, thresholds = list(zip(division.unlabelled, boxes)), dict.fromkeys(CLASSES, Threshold(0))
    pseudo_labels.write(out, folder, division, images, None, thresholds, {})
    for split, objects in (('train', 8), ('val', 4)):
        content = json.loads((out / f'annotations/instances_{split}.json').read_text())
        assert len(content['annotations']) == objects
        assert not [row for row in content['annotations'] if 'segmentation' in row]
        given = (folder / f'annotations/instances_{split}.json').read_text()
        assert given.count('segmentation') == len(json.loads(given)['annotations'])
    # a config with masks trains on boxes alone
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, out)
    assert layouts.check(cfg, decode=True)[0].images == 6
    assert cfg.model.type == 'FasterRCNN'


def test_a_folder_of_images_is_labelled(folder, tmp_path):
    checkpoint = tmp_path / 'teacher/iter_9.pth'
    division = pseudo_labels.divide(folder, checkpoint, meta_of(folder, checkpoint, None), None)
    assert (len(division.labelled), division.unlabelled) == (6, [])
    more = tmp_path / 'more'
    (more / 'b').mkdir(parents=True)
    with pytest.raises(InputError, match='no image there that can be used'):
        pseudo_labels.images_below(more, division)
    (more / '.thumbnails').mkdir()
    for name in ('a.png', 'b/a.png', 'cut.png', '.thumbnails/a.png'):
        cv2.imwrite(str(more / name), np.full((50, 70, 3), 99, 'u1'))
    (more / 'cut.png').write_bytes((more / 'cut.png').read_bytes()[:-20])
    rows, faults = pseudo_labels.images_below(more, division)
    assert [(row['id'], row['file_name']) for row in rows] == [(11, 'a.png'), (12, 'b/a.png')]
    assert (rows[0]['width'], rows[0]['height']) == (70, 50)
    assert len(faults) == 1
    assert faults[0].startswith(str(more / 'cut.png'))
    images = [(row, found((0, 0.9, 0), size=(50, 70))) for row in rows]
    thresholds = dict.fromkeys(CLASSES, Threshold(0.5))
    pseudo_labels.write(tmp_path / 'out', folder, division, images, more, thresholds, {})
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, tmp_path / 'out')
    assert layouts.check(cfg)[0].images == 8

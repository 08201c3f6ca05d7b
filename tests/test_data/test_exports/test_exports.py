import copy
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from pycocotools import mask as mask_utils

from mmscratch.data import coco_json, layouts, repoint, tiles
from mmscratch.data.exports import cache
from mmscratch.errors import InputError
from mmscratch.evaluation import pseudo_labels

from .conftest import CLASSES, DATA, SPLIT, WHOLE, Drawn, coco, draw, with_polygons, write_json

CONFIG = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.milestones=[1]',
    'param_scheduler.1.end=2',
    'train_dataloader.batch_size=2',
    'auto_scale_lr.base_batch_size=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
]


def read(root: Path) -> dict[str, dict]:
    """What detectors see of each split: by image its size, and its objects' class, box, outline."""
    found = {}
    for split, reads in layouts.find(root).items():
        content = coco_json.load(repoint.annotation_path(reads))
        names = {row['id']: row['name'] for row in content['categories']}
        objects: dict[int, list] = {row['id']: [] for row in content['images']}
        for row in content['annotations']:
            outline = [x for part in row.get('segmentation') or [] for x in part]
            assert not row['iscrowd']
            objects[row['image_id']].append(
                (names[row['category_id']], row['bbox'], outline, row['area'])
            )
        found[split] = {
            os.path.basename(row['file_name']): (row['width'], row['height'], objects[row['id']])
            for row in content['images']
        }
        folder = Path(reads['data_root'], reads['data_prefix']['img'])
        assert all((folder / row['file_name']).is_file() for row in content['images'])
        assert content.classes == tuple(CLASSES)
    return found


def expected(data: list[Drawn]) -> dict[str, tuple]:
    found = {}
    for image in data:
        objects = []
        for name, points in image.objects:
            xs, ys = zip(*points)
            bbox = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            area = bbox[2] * bbox[3]
            outline = [] if len(points) == 4 else [x for point in points for x in point]
            objects.append((name, bbox, outline, area / 2 if outline else area))
        found[os.path.basename(image.name)] = image.width, image.height, objects
    return found


@pytest.mark.parametrize('polygons', [False, True])
@pytest.mark.parametrize('name', SPLIT)
def test_every_export_is_the_same_data(make_export, name, polygons):
    """Equal to the digit: names with spaces, umlauts, sub-folders, turned and empty images."""
    data = with_polygons() if polygons else DATA
    found = read(make_export(name, data))
    for split in ('train', 'val'):
        assert found[split] == expected([image for image in data if image.split == split])


@pytest.mark.parametrize('name', WHOLE)
def test_a_folder_without_a_split_is_divided(make_export, name):
    root = make_export(name)
    found = read(root)
    assert found['train'] | found['val'] == expected(DATA)
    # a fifth of the images, and each class that can be on both sides
    assert not found['train'].keys() & found['val'].keys()
    assert {len(found['val'])} <= {1, 2}
    assert {item[0] for *_, items in found['val'].values() for item in items} == {*CLASSES}
    written = json.loads((root / '.mmscratch/split.json').read_text())
    assert {os.path.basename(x) for x in written['val']} == found['val'].keys()
    assert {os.path.basename(x) for x in written['train']} == found['train'].keys()


def test_all_layouts_are_divided_alike(make_export):
    found = [read(make_export(name, folder=name))['val'].keys() for name in WHOLE]
    assert found == [found[0]] * len(found)


def test_a_config_trains_on_every_layout_alike(make_export):
    """What the detector gets is the same, sample for sample."""
    from mmdet.registry import DATASETS

    loaded, samples = Config.fromfile(CONFIG), []
    for name in SPLIT:
        cfg = copy.deepcopy(loaded)
        root = make_export(name, folder=name)
        layouts.use_folder(cfg, root)
        train, val = layouts.check(cfg, decode=True)
        assert (train.images, val.images) == (4, 2)
        found = []
        for key in ('train_dataloader', 'test_dataloader'):
            dataset = DATASETS.build(dict(cfg[key].dataset, pipeline=[]))
            assert dataset.metainfo['classes'] == tuple(CLASSES)
            for index in range(len(dataset)):
                sample = dataset.get_data_info(index)
                image = os.path.basename(sample['img_path'])
                boxes = [(i['bbox'], i['bbox_label']) for i in sample['instances']]
                found.append((key, image, sample['height'], sample['width'], boxes))
        samples.append(found)
    assert samples == [samples[0]] * len(samples)
    assert len(samples[0]) == 5


def found_in(image: Drawn, height: int, width: int) -> dict:
    """Two detections of each object, made from the truth: the one is exact, the other shifted."""
    boxes, masks, labels, scores = [], [], [], []
    for number, (name, points) in enumerate(image.objects):
        for shift, score in ((0, 0.2), (3, 0.9)):
            # of an image's first object the exact one has the higher score
            moved = np.array(points) + (shift if number else 3 - shift)
            boxes.append([*moved.min(0), *moved.max(0)])
            outline = [moved.astype(float).ravel().tolist()]
            (rle,) = mask_utils.frPyObjects(outline, height, width)
            masks.append(mask_utils.decode(rle))
            labels.append(CLASSES.index(name))
            # no two of all images are equal
            scores.append(score - 0.01 * number - 0.001 * int(os.path.basename(image.name)[0]))
    return dict(
        bboxes=torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
        masks=torch.tensor(np.array(masks)).reshape(-1, height, width).bool(),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores),
    )


def coco_own(root: Path, data: list[Drawn]) -> None:
    for split in ('train', 'val'):
        part = [image for image in data if image.split == split]
        write_json(root / f'annotations/instances_{split}.json', coco(part))
        for image in part:
            draw(image, root / split / image.name)


@pytest.mark.parametrize('kind', ['split', 'whole'])
def test_the_same_detections_have_the_same_ap_in_every_layout(make_export, tmp_path, kind):
    from mmdet.registry import DATASETS, METRICS

    data = with_polygons()
    roots = [make_export(name, data, name) for name in (SPLIT if kind == 'split' else WHOLE)]
    if kind == 'split':
        coco_own(tmp_path / 'coco', data)
        roots.append(tmp_path / 'coco')
    drawn = {os.path.basename(image.name): image for image in data}
    loaded, results = Config.fromfile(CONFIG), []
    for root in roots:
        cfg = copy.deepcopy(loaded)
        layouts.use_folder(cfg, root)
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
        metric = METRICS.build(cfg.test_evaluator)
        metric.dataset_meta = dataset.metainfo
        for index in range(len(dataset)):
            sample = dataset.get_data_info(index)
            size = sample['height'], sample['width']
            found = found_in(drawn[os.path.basename(sample['img_path'])], *size)
            row = dict(img_id=sample['img_id'], ori_shape=size, pred_instances=found)
            metric.process({}, [row])
        results.append(metric.evaluate(len(dataset)))
    assert results == [results[0]] * len(roots)
    for name in ('bbox_mAP', 'segm_mAP'):
        assert 0.2 < results[0][f'coco/{name}'] < 0.9


def test_train_and_evaluate_by_data_alone(make_export, run_tool, tmp_path):
    """A YOLO folder with a space in its name, from the command line to the AP."""
    root, work_dir = make_export('yolo'), tmp_path / 'run'
    arguments = [CONFIG, '--data', root, '--work-dir', work_dir, '--cfg-options', *SHORT]
    run_tool('train.py', *arguments)
    (log,) = work_dir.glob('*/*.log')
    assert f'made from {root}/data.yaml (YOLO; SHA-256 of all labels: ' in log.read_text()
    last = json.loads((work_dir / 'metrics.json').read_text())['history'][-1]
    assert last['iteration'] == 2
    assert 0 <= last['bbox_mAP'] <= 1


@pytest.fixture
def kept(make_export):
    """A YOLO folder, and what is kept of it."""
    root = make_export('yolo')
    return root, repoint.annotation_path(layouts.find(root)['train'])


def test_a_fresh_cache_is_used_and_a_stale_one_written_anew(kept):
    root, file = kept
    before = file.stat().st_mtime_ns, file.read_bytes()
    layouts.find(root)
    assert file.stat().st_mtime_ns == before[0]
    # a label
    label = root / 'labels/train/1.txt'
    label.write_text('1 0.5 0.5 0.25 0.5\n')
    assert read(root)['train']['1.jpg'] == (48, 40, [('star', [18, 10, 12, 20], [], 240)])
    # an image of another size under the same name
    draw(Drawn('1.jpg', 'train', 96, 40, []), root / 'images/train/1.jpg')
    assert read(root)['train']['1.jpg'][:2] == (96, 40)
    # a new image
    draw(Drawn('9.jpg', 'train', 30, 30, []), root / 'images/train/9.jpg')
    assert read(root)['train']['9.jpg'] == (30, 30, [])
    # a kept file that somebody has changed
    sound = file.read_bytes()
    file.write_bytes(sound.replace(b'star', b'moon'))
    layouts.find(root)
    assert file.read_bytes() == sound


def test_of_several_processes_one_writes(make_export, monkeypatch):
    root, written = make_export('yolo'), []
    write = cache._write
    monkeypatch.setattr(
        cache, '_write', lambda *args: (time.sleep(0.1), write(*args), written.append(1))
    )
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(layouts.find, [root] * 4))
    assert found == [found[0]] * 4
    assert written == [1]


def test_a_folder_that_cannot_be_written_is_kept_in_the_users_cache(
    make_export, tmp_path, monkeypatch
):
    root = make_export('yolo')
    (root / '.mmscratch').write_text('in the way, since permissions do not stop root')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    reads = layouts.find(root)['train']
    file = repoint.annotation_path(reads)
    assert file.parent.parent == tmp_path / 'cache/mmscratch/layouts'
    assert cache.source_of(file).name(file) == str(root / 'data.yaml')
    assert read(root)['train'] == expected([image for image in DATA if image.split == 'train'])
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(InputError, match=r'\.mmscratch: cannot be written .*XDG_CACHE_HOME'):
        layouts.find(root)


def test_faults_tell_what_to_correct(kept):
    """Not the file that is kept, but the one that it was made from."""
    root, file = kept
    (root / 'labels/train/1.txt').write_text('0 0.5 0.5 0 0.1\n')
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, root)
    with pytest.raises(InputError) as fault:
        layouts.check(cfg)
    assert str(fault.value).startswith(f'{root}/data.yaml (kept as {file}): 1 of 4 boxes')
    assert "'images/train/1.jpg'" in str(fault.value)
    assert '\n' not in str(fault.value)
    cfg.drop_bad_boxes = True
    train, _ = layouts.check(cfg)
    assert f'{file}: made from {root}/data.yaml (YOLO; SHA-256' in '\n'.join(train.lines())


def test_unknown_folders(make_export, tmp_path):
    root = make_export('yolo')
    with pytest.raises(
        InputError, match=rf'{tmp_path}: no layout that is known, but {root} has one'
    ):
        layouts.find(tmp_path)
    empty = tmp_path / 'other'
    (empty / 'pictures').mkdir(parents=True)
    with pytest.raises(InputError, match=r'holds pictures/; give a folder in one of .*LabelMe \('):
        layouts.find(empty)
    with pytest.raises(InputError, match=r'nowhere: no such folder; .*Roboflow'):
        layouts.find(tmp_path / 'nowhere')
    (empty / 'pictures/1.xml').write_text('<annotation/>')
    with pytest.raises(InputError, match=r'but XML such as pictures/1\.xml; .*to Annotations/'):
        layouts.find(empty)


def test_images_to_pretrain_on_leave_out_those_to_validate_on(make_export):
    root = make_export('yolo')
    assert layouts.images_of(root) == root / 'images/train'


def test_pseudo_labels_beside_an_export(kept, tmp_path):
    """The student's folder has links to the images, wherever they are in the teacher's."""
    root, file = kept
    teacher = dict(split='train', sha256=coco_json.load(file).sha256)
    meta = dict(preflight=dict(annotations=[teacher]))
    division = pseudo_labels.divide(root, tmp_path / 'iter_9.pth', meta, None)
    pseudo_labels.write(tmp_path / 'out', root, division, [], None, {}, {})
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, tmp_path / 'out')
    train, val = layouts.check(cfg)
    assert (train.images, val.images) == (4, 2)
    for name in ('Annotations', 'JPEGImages'):
        (tmp_path / 'voc' / name).mkdir(parents=True)
    with pytest.raises(InputError, match='in PASCAL VOC layout, which does not do here'):
        pseudo_labels.divide(tmp_path / 'voc', tmp_path / 'iter_9.pth', meta, None)


def test_tiles_of_an_export(kept, tmp_path):
    root, _ = kept
    counts = tiles.convert(root, tmp_path / 'tiles', size=32)
    assert [images for images, _ in counts.values()] == [4, 2]
    cfg = Config.fromfile(CONFIG)
    layouts.use_folder(cfg, tmp_path / 'tiles')
    train, val = layouts.check(cfg)
    assert [report.images for report in (train, val)] == [n for _, n in counts.values()]

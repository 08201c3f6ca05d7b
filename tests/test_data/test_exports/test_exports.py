import json
import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmscratch.data import coco_json, layouts, repoint

from .conftest import CLASSES, DATA, SPLIT, WHOLE, Drawn, with_polygons

CONFIG = 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py'


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

    samples = []
    for name in SPLIT:
        cfg = Config.fromfile(CONFIG)
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

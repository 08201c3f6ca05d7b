"""Training samples of the shipped pipelines beside those of MMDetection's own classes."""

import json
import random

import mmcv
import mmdet.datasets.transforms
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmscratch.config.sections import walk
from mmscratch.data.late_masks import LateMasks
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.data.transforms import LoadAnnotations, PackDetInputs
from mmscratch.ops import narrow_images


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Six images; the first object of the second is an RLE, that of the third has no mask."""
    folder = tmp_path_factory.mktemp('shapes')
    config = ShapesConfig(size=(160, 120), objects=(4, 9))
    generate(folder, config, dict(train=6), progress=False)
    file = folder / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    first = {row['image_id']: row for row in reversed(content['annotations'])}
    first[2]['segmentation'] = dict(size=[120, 160], counts=[5000, 90, 30, 60, 14020])
    first[3]['segmentation'] = [[1, 2, 3, 4]]
    file.write_text(json.dumps(content))
    return folder


def samples(name, data, numbers):
    init_default_scope('mmdet')
    dataset = Config.fromfile(f'configs/scratch/{name}.py').train_dataloader.dataset
    content = json.loads((data / 'annotations/instances_train.json').read_text())
    classes = [row['name'] for row in content['categories']]
    for node in walk(dataset):
        if 'ann_file' in node:
            node.update(data_root=str(data), ann_file='annotations/instances_train.json')
            node.update(data_prefix=dict(img='train'), metainfo=dict(classes=classes))
    built = DATASETS.build(dataset)
    found = []
    for number in numbers:
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        found.append(built[number % len(built)])
    return found


@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn_r50_gn_2x',
        'mask_rcnn_r50_gn_9x_ms',
        'mask_rcnn_r50_syncbn_100e_lsj',
        'mask_rcnn_r50_syncbn_100e_lsj_cp',
        'faster_rcnn_vgg16_nonorm_11x_ms',
    ],
)
def test_samples_are_mmdetections(name, data, monkeypatch):
    numbers = range(12)
    own = samples(name, data, numbers)
    for kind in (LoadAnnotations, PackDetInputs):
        stock = getattr(mmdet.datasets.transforms, kind.__name__)
        assert stock is not kind
        monkeypatch.setitem(TRANSFORMS.module_dict, kind.__name__, stock)
    for module in (mmcv, mmcv.image, mmcv.image.geometric):
        monkeypatch.setattr(module, 'imflip', narrow_images._mmcv_imflip)
    for mine, theirs in zip(own, samples(name, data, numbers), strict=True):
        assert torch.equal(mine['inputs'], theirs['inputs'])
        assert mine['inputs'].is_contiguous()
        mine, theirs = mine['data_samples'], theirs['data_samples']
        assert mine.metainfo == theirs.metainfo
        for part in ('gt_instances', 'ignored_instances'):
            a, b = mine.get(part), theirs.get(part)
            assert set(a.keys()) == set(b.keys())
            assert torch.equal(a.bboxes.tensor, b.bboxes.tensor)
            assert torch.equal(a.labels, b.labels)
            if 'masks' in b:
                # Copy-Paste changes pixels
                assert type(a.masks) is LateMasks or name.endswith('_cp')
                assert (a.masks.height, a.masks.width) == (b.masks.height, b.masks.width)
                np.testing.assert_array_equal(a.masks.masks, b.masks.masks)

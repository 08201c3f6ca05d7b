"""Detections of tiles, merged to those of the whole image."""

import json
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from torch import nn

import mmscratch.register_all  # noqa: F401
from mmscratch.data.transforms.tile_views import tiled_pipeline, tiles
from mmscratch.evaluation import FullCocoMetric
from mmscratch.evaluation.inferencer import Inferencer
from mmscratch.models.tiled_model import TiledModel, merged, whole_rle

# x, y, width, height of objects on black, and their grey level, which is their class
OBJECTS = [(20, 20, 12, 12, 1), (58, 70, 20, 10, 1), (100, 10, 30, 20, 2), (150, 60, 10, 30, 2)]
WIDTH, HEIGHT = 170, 100


class Finder(nn.Module):
    """Finds what is not black, with its mask, whole or cut; a larger part has a higher score."""

    dataset_meta = dict(classes=('a', 'b'))

    def __init__(self):
        super().__init__()
        self.batches = []
        self.bitmaps = []

    def test_step(self, data):
        self.batches.append(len(data['inputs']))
        # bitmaps of 100 detections a tile would fill the memory
        assert not any(bitmap() is not None for bitmap in self.bitmaps)
        return [self.find(*each) for each in zip(data['inputs'], data['data_samples'])]

    def find(self, image, sample):
        number, pieces = cv2.connectedComponents((image[0].numpy() > 0).astype(np.uint8))
        masks = torch.stack(
            [torch.from_numpy(pieces == k) for k in range(1, number)] or [image[0] < 0]
        )
        masks = masks[: number - 1]
        self.bitmaps.append(weakref.ref(masks))
        boxes, labels = torch.zeros(len(masks), 4), torch.zeros(len(masks), dtype=torch.long)
        for k, mask in enumerate(masks):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            boxes[k] = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            labels[k] = image[0][mask].max().long() - 1
        found = InstanceData(bboxes=boxes, labels=labels, masks=masks)
        found.scores = masks.sum((1, 2)) / 1000
        return DetDataSample(metainfo=sample.metainfo, pred_instances=found)


@pytest.fixture
def picture(tmp_path) -> Path:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x, y, w, h, grey in OBJECTS:
        image[y : y + h, x : x + w] = grey
    cv2.imwrite(str(tmp_path / 'picture.png'), image)
    return tmp_path / 'picture.png'


def test_whole_objects_come_back(picture):
    """Objects that borders of tiles cut, once each, where they are in the image."""
    init_default_scope('mmdet')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape')),
    ]
    views = Compose(list(tiled_pipeline(pipeline, 64, 0.5)))(dict(img_path=str(picture), img_id=3))
    assert len(views['inputs']) == len(tiles(WIDTH, HEIGHT, 64, 0.5)) == 15
    finder = Finder()
    (sample,) = TiledModel(finder, tiles_at_once=4).test_step(pseudo_collate([views]))
    assert finder.batches == [4, 4, 4, 3]
    assert (sample.ori_shape, sample.img_id) == ((HEIGHT, WIDTH), 3)
    found = sample.pred_instances
    truth = {(x, y, x + w, y + h): grey - 1 for x, y, w, h, grey in OBJECTS}
    assert dict(zip(map(tuple, found.bboxes.int().tolist()), found.labels.tolist())) == truth
    assert len(found) == len(OBJECTS)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    for rle, (x1, y1, x2, y2) in zip(found.masks, found.bboxes.int().tolist()):
        mask = mask_utils.decode(rle)
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.sum() == mask[y1:y2, x1:x2].sum() == (x2 - x1) * (y2 - y1)

    # COCO's metric takes it as that of a whole image
    rows = [
        dict(id=k, image_id=3, bbox=[x, y, w, h], area=w * h, iscrowd=0, category_id=grey)
        | dict(segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
        for k, (x, y, w, h, grey) in enumerate(OBJECTS, 1)
    ]
    content = dict(
        images=[dict(id=3, file_name=picture.name, width=WIDTH, height=HEIGHT)],
        annotations=rows,
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
    )
    file = picture.with_name('truth.json')
    file.write_text(json.dumps(content))
    metric = FullCocoMetric(ann_file=str(file), metric=['bbox', 'segm'])
    metric.dataset_meta = finder.dataset_meta
    metric.process({}, [sample.to_dict()])
    numbers = metric.evaluate(1)
    assert numbers['coco/bbox_mAP'] == numbers['coco/segm_mAP'] == 1


def test_an_empty_image(tmp_path):
    init_default_scope('mmdet')
    cv2.imwrite(str(tmp_path / 'black.png'), np.zeros((80, 80, 3), np.uint8))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', meta_keys=())]
    views = Compose(list(tiled_pipeline(pipeline, 64, 0)))(
        dict(img_path=str(tmp_path / 'black.png'))
    )
    (sample,) = TiledModel(Finder()).test_step(pseudo_collate([views]))
    assert len(sample.pred_instances.bboxes) == 0
    assert sample.pred_instances.masks == []


def test_what_is_merged():
    def one(box, score, label=0, number=0, cut=False):
        return InstanceData(
            bboxes=torch.tensor([box], dtype=torch.float32),
            scores=torch.tensor([score]),
            labels=torch.tensor([label]),
            number=torch.tensor([number]),
            cut=torch.tensor([cut]),
        )

    found = InstanceData.cat(
        [
            one([0, 0, 10, 10], 0.9, cut=True),  # a part of the next one
            one([0, 0, 20, 10], 0.6, number=1),
            one([0, 0, 20, 10], 0.5, number=2, label=1),  # another class
            one([2, 2, 6, 6], 0.4, number=1),  # from the same tile
            one([15, 0, 35, 10], 0.3, number=2),  # shares a quarter
        ]
    )
    assert merged(found, 0.5).tolist() == [1, 2, 3, 4]
    assert merged(found, 0.2).tolist() == [1, 2, 3]
    assert merged(found[:0], 0.5).tolist() == []


@pytest.mark.parametrize('place', [(0, 0), (3, 4), (6, 5)])
def test_runs_of_the_whole_image(place):
    x, y = place
    rng = np.random.RandomState(0)
    for mask in (rng.rand(5, 4) > 0.5, np.zeros((5, 4), bool), np.ones((5, 4), bool)):
        whole = np.zeros((10, 10), np.uint8, order='F')
        whole[y : y + 5, x : x + 4] = mask
        assert whole_rle(mask, x, y, 10, 10) == mask_utils.encode(whole)


def test_inference_on_tiles(tmp_path):
    """A random Mask R-CNN: pictures, and JSON with masks of the whole image."""
    from mmdet.registry import MODELS

    cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=11)
    torch.manual_seed(0)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=('a', 'b', 'c')))
    file = tmp_path / 'random.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), file)
    image = np.random.RandomState(0).randint(0, 255, (70, 100, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'one.png'), image)
    inferencer = Inferencer(weights=str(file), device='cpu', show_progress=False, tiles=64)
    inferencer(
        str(tmp_path / 'one.png'), out_dir=str(tmp_path), no_save_pred=False, pred_score_thr=0.0
    )
    assert cv2.imread(str(tmp_path / 'vis/one.png')).shape == (70, 100, 3)
    found = json.loads((tmp_path / 'preds/one.json').read_text())
    assert len(found['labels']) == len(found['masks']) > 11
    assert all(mask_utils.decode(rle).shape == (70, 100) for rle in found['masks'])
    assert max(box[2] for box in found['bboxes']) > 64

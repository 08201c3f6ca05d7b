"""Training of an RPN on images without an anchor inside."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmscratch.models.inside_anchors import anchor_inside_flags

ANCHORS = torch.tensor([[-5.0, -5, 5, 5], [0, 0, 10, 10], [8, 8, 18, 18]])


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        ((12, 12), [False, True, False]),
        ((20, 20), [False, True, True]),
        # none fits: all that are valid
        ((6, 6), [True, True, False]),
    ],
)
def test_which_anchors_count(shape, expected):
    valid = torch.tensor([True, True, False]) if shape == (6, 6) else torch.ones(3, dtype=bool)
    assert anchor_inside_flags(ANCHORS, valid, shape, 0).tolist() == expected


def test_a_narrow_image_trains():
    cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    torch.manual_seed(0)
    head = MODELS.build(
        dict(cfg.model.rpn_head, train_cfg=cfg.model.train_cfg.rpn, test_cfg=cfg.model.test_cfg.rpn)
    )
    features = [torch.randn(1, head.in_channels, 2, max(1, 96 // 2**k)) for k in range(5)]
    sample = DetDataSample(metainfo=dict(img_shape=(1, 384), pad_shape=(32, 384)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 0, 60, 1]]), labels=torch.tensor([0])
    )
    losses = head.loss(features, [sample])
    assert all(torch.isfinite(value).all() for values in losses.values() for value in values)
    assert sum(values.item() for values in losses['loss_rpn_cls']) > 0

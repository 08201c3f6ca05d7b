import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.hooks.val_loss_hook import ValLossHook, losses, with_annotations_first


class Preprocessor(BaseDataPreprocessor):
    """What pads masks in training alone, and augments there."""

    def __init__(self):
        super().__init__()
        self.batch_augments = 'random scales'
        self.seen = []

    def forward(self, data, training=False):
        self.seen.append((training, self.batch_augments))
        return data


class Detector(BaseModel):
    """Its losses are the values of the images and ten times these; it draws a random number."""

    def __init__(self):
        super().__init__(data_preprocessor=Preprocessor())
        self.bn = nn.BatchNorm1d(1)
        self.weight = nn.Parameter(torch.ones(()))
        self.drawn = []

    def forward(self, inputs, mode='tensor'):
        self.bn(torch.randn(4, 1))
        self.drawn.append(float(torch.rand(())))
        mean = self.weight * torch.stack(inputs).mean()
        return dict(loss_cls=mean, loss_bbox=10 * mean, acc=mean * 0 + 99)


@pytest.fixture
def detector():
    """In evaluation mode, as MMEngine's validation leaves it."""
    return Detector().eval()


@pytest.fixture
def loader():
    """Batches of 2, 2 and 1 images."""
    values = [torch.tensor(value) for value in (1.0, 2.0, 3.0, 4.0, 10.0)]
    return DataLoader(values, batch_size=2, collate_fn=lambda batch: dict(inputs=batch))


def test_the_mean_is_over_images(detector, loader):
    assert losses(detector, loader) == pytest.approx(
        dict(val_loss_cls=4.0, val_loss_bbox=40.0, val_loss=44.0)
    )


def test_nothing_of_the_training_changes(detector, loader):
    torch.manual_seed(5)
    numbers = torch.random.get_rng_state()
    losses(detector, loader)
    assert detector.data_preprocessor.seen == [(True, None)] * 3
    assert detector.data_preprocessor.batch_augments == 'random scales'
    assert int(detector.bn.num_batches_tracked) == 0
    assert torch.equal(torch.random.get_rng_state(), numbers)


def test_the_same_proposals_are_sampled_each_time(detector, loader):
    losses(detector, loader)
    losses(detector, loader)
    assert detector.drawn[:3] == detector.drawn[3:]
    assert len(set(detector.drawn)) == 3


def test_without_training_there_is_no_loss():
    metrics = {}
    ValLossHook().after_val_epoch(None, metrics)
    assert metrics == {}


@pytest.mark.parametrize(
    'config', ['mask_rcnn_r18_gn_600i_shapes', 'keypoint_rcnn_r18_gn_600i_shapes']
)
def test_annotations_are_where_the_image_is(config, tmp_path):
    """Of images of 96 pixels that are shrunk to 48."""
    generate(tmp_path, ShapesConfig(size=96), {'val': 2}, progress=False)
    cfg = Config.fromfile(f'configs/scratch/{config}.py')
    init_default_scope('mmdet')
    dataset = cfg.val_dataloader.dataset
    dataset.update(data_root=str(tmp_path), ann_file='annotations/instances_val.json')
    shrink = next(step for step in dataset.pipeline if step.type == 'ShrinkToFit')
    shrink.scale = (48, 48)
    cfg.val_dataloader.num_workers = 0
    batches = Runner.build_dataloader(with_annotations_first(cfg.val_dataloader))
    boxes = [a['bbox'] for a in annotations(tmp_path) if a['image_id'] == 1]
    batch = next(iter(batches))
    sample = next(s for s in batch['data_samples'] if s.img_id == 1)
    x, y, w, h = torch.tensor(boxes).T / 2
    assert sample.img_shape == (48, 48)
    found = sample.gt_instances.bboxes.tensor
    torch.testing.assert_close(found, torch.stack([x, y, x + w, y + h], 1), atol=1e-3, rtol=0)
    if 'keypoint' in config:
        assert sample.gt_instances.keypoints[..., :2].max() <= 48
    else:
        assert sample.gt_instances.masks.masks.shape[1:] == (48, 48)
    assert [step.type for step in cfg.val_dataloader.dataset.pipeline][1] == 'ShrinkToFit'


@pytest.mark.parametrize(
    ('config', 'change', 'missing'),
    [
        ('scratch/mask_rcnn_r18_gn_600i_shapes', dict(with_mask=False), 'add with_mask=True to'),
        (
            'scratch/mask_rcnn_r18_gn_600i_shapes',
            dict(type='LoadProposals'),
            'add with_bbox=True and with_mask=True to',
        ),
        ('dsod/dsod192_small_bn_600i_shapes', dict(with_bbox=False), 'add with_bbox=True to'),
    ],
)
def test_a_validation_that_loads_less_is_refused(config, change, missing):
    cfg = Config.fromfile(f'configs/{config}.py')
    steps = cfg.val_dataloader.dataset.pipeline
    next(step for step in steps if step.type == 'LoadAnnotations').update(change)
    with pytest.raises(InputError, match=rf'{config}.*val_loss.*: {missing}'):
        ValLossHook().before_train(SimpleNamespace(cfg=cfg))


def annotations(folder):
    return json.loads((folder / 'annotations/instances_val.json').read_text())['annotations']

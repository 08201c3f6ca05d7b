import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models import FasterRCNN
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.hooks import TrainApHook

CONFIG = 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py'  # with BN, which has statistics


class Order(Hook):
    """The images of each step."""

    def __init__(self):
        self.ids = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.ids.append([sample.img_id for sample in data_batch['data_samples']])


@pytest.fixture
def seen(monkeypatch):
    """Files that were predicted on; predictions are the truth on training images, else nothing."""
    files = []
    predict = FasterRCNN.predict

    def predict_truth(self, inputs, samples, rescale=True):
        for sample in predict(self, inputs, samples, rescale):
            files.append(sample.img_path)
            boxes = sample.gt_instances.bboxes
            boxes = boxes if '/train/' in sample.img_path else boxes[:0]
            labels = sample.gt_instances.labels[: len(boxes)]
            scores = torch.ones(len(boxes))
            sample.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
        return samples

    monkeypatch.setattr(FasterRCNN, 'predict', predict_truth)
    return files


def config(folder, name):
    cfg = Config.fromfile(CONFIG)
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.data_root = f'{folder}/data/'
        # no workers: these would not share their random numbers
        loader.num_workers, loader.batch_size = 0, 2
        loader.pop('persistent_workers', None)
    cfg.train_dataloader.sampler.update(subset=5)
    cfg.val_evaluator.ann_file = f'{folder}/data/annotations/instances_val.json'
    cfg.train_cfg.update(max_iters=2, val_interval=1)
    cfg.param_scheduler = None
    # saves the random state, too
    cfg.default_hooks.checkpoint.update(interval=2)
    cfg.default_hooks.preflight = dict(type='PreflightHook', allow=['schedule'])
    cfg.default_hooks.pop('visualization')
    cfg.update(randomness=dict(seed=3), work_dir=f'{folder}/{name}', experiment_name=name)
    return cfg


def outcome(cfg):
    """What a run leaves: weights, statistics, momenta, random states, and the order of images."""
    runner = Runner.from_cfg(cfg)
    order = Order()
    runner.register_hook(order)
    runner.train()
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    momenta = runner.optim_wrapper.state_dict()['state']
    return runner.model.state_dict(), momenta, states, order.ids


def test_the_run_is_the_same_to_the_last_bit(tmp_path, seen):
    generate(
        tmp_path / 'data', ShapesConfig(size=96, classes=3), {'train': 8, 'val': 3}, progress=False
    )
    expected = outcome(config(tmp_path, 'plain'))
    assert not any('/train/' in file for file in seen)
    seen.clear()
    cfg = config(tmp_path, 'watched')
    cfg.default_hooks.train_ap = dict(type='TrainApHook')
    found = outcome(cfg)
    assert any(name.endswith('running_var') for name in expected[0])
    for mine, other in zip(found[:2], expected[:2]):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert found[2:] == expected[2:]
    # as many as validation has, the same each time, all of those that are trained on
    sample = [Path(file).name for file in seen if '/train/' in file]
    assert len(set(sample)) == 3
    assert sample[:3] == sample[3:]
    trained = json.loads((tmp_path / 'watched/subset.json').read_text())['ids']
    images = json.loads((tmp_path / 'data/annotations/instances_train.json').read_text())['images']
    names = {image['file_name'] for image in images if image['id'] in trained}
    assert len(names) == 5
    assert names.issuperset(sample)
    report = json.loads((tmp_path / 'watched/metrics.json').read_text())
    assert [entry['train_bbox_mAP'] for entry in report['history']] == [1, 1]
    assert [entry['bbox_mAP'] for entry in report['history']] == [0, 0]
    assert report['verdict'] == 'too early to tell: 2 of 5 validations'


def test_several_data_sets_are_refused(make_runner):
    class Several(list):
        pass

    runner = make_runner(TrainApHook())
    runner.train_loop.dataloader = torch.utils.data.DataLoader(Several([0]))
    with pytest.raises(InputError, match='dataset is a Several, and has to be a single data set'):
        TrainApHook().before_train(runner)

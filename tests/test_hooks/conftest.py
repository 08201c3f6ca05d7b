"""A runner of a toy detector on a toy COCO data set, to be bent by each test."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel, BaseModule, MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

import mmscratch  # noqa: F401

CLASSES = ('cat', 'dog', 'horse')


class ToyBackbone(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv2(self.bn1(self.conv1(x)))


class ToyHead(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.fc_cls = nn.Linear(8, num_classes + 1)


class ToyDetector(BaseModel):
    """A backbone, an RPN head of 1 class that is called on two levels, and a box head."""

    def __init__(self, num_classes=3, init_cfg=None):
        super().__init__()
        self.backbone = ToyBackbone(init_cfg)
        self.rpn_head = nn.Sequential(nn.Conv2d(8, 8, 1))
        self.rpn_head.num_classes = 1
        self.bbox_head = ToyHead(num_classes)

    def forward(self, mode='tensor', **data):
        if mode == 'predict':
            return [0]
        x = self.backbone(torch.ones(2, 3, 8, 8))
        x = self.rpn_head(x) + self.rpn_head(x[..., ::2, ::2]).mean()
        return dict(loss=self.bbox_head.fc_cls(x.mean((2, 3))).square().mean())


class NoMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'n': len(results)}


@pytest.fixture
def coco(tmp_path):
    """Return a function that writes a COCO JSON of two images and makes a data set of it."""
    # not above: it imports mmcv.ops, which mmscratch has to provide first
    from mmdet.datasets import CocoDataset

    def make(name='train', classes=CLASSES, names=CLASSES, objects=CLASSES):
        box = dict(bbox=[1, 1, 5, 5], area=25, iscrowd=0)
        data = dict(
            images=[dict(id=i, file_name=f'{i}.png', height=9, width=9) for i in (1, 2)],
            categories=[dict(id=i, name=name) for i, name in enumerate(names)],
            annotations=[
                dict(box, id=i, image_id=1 + i % 2, category_id=names.index(name))
                for i, name in enumerate(objects)
            ],
        )
        file = tmp_path / f'{name}.json'
        file.write_text(json.dumps(data))
        return CocoDataset(
            ann_file=str(file),
            metainfo=dict(classes=classes),
            data_prefix=dict(img=''),
            # which would call the garbage collector
            serialize_data=False,
            pipeline=[lambda data: dict(img_id=data['img_id'])],
        )

    return make


@pytest.fixture
def make_runner(tmp_path, coco):
    """Return a function that makes a runner of two iterations."""
    runners = []

    def make(*hooks, model=None, detector=(), change=None, train=None, val=None, seed=0, **kwargs):
        torch.manual_seed(seed)
        model = model or ToyDetector(**dict(detector))
        if change is not None:
            change(model)
        loader = dict(batch_size=2, num_workers=0, collate_fn=dict(type='pseudo_collate'))
        defaults = dict(
            model=model,
            work_dir=str(tmp_path / 'run'),
            train_dataloader=dict(
                loader, dataset=train or coco(), sampler=dict(type='InfiniteSampler')
            ),
            val_dataloader=dict(
                loader, dataset=val or coco('val'), sampler=dict(type='DefaultSampler')
            ),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=Evaluator(NoMetric()),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)),
            custom_hooks=list(hooks),
            log_processor=dict(by_epoch=False),
            randomness=dict(seed=seed),
            experiment_name=f'{tmp_path.name}_{len(runners)}',
        )
        runner = Runner(**{**defaults, **kwargs})
        runners.append(runner)
        return runner

    yield make
    for handler in (handler for runner in runners for handler in runner.logger.handlers):
        handler.close()


@pytest.fixture
def process_group(tmp_path, monkeypatch):
    """A distributed run of one process without a GPU, for a Runner with launcher='pytorch'."""

    def wrap(module, device_ids, **kwargs):
        return MMDistributedDataParallel(module, device_ids=None, **kwargs)

    monkeypatch.setattr('mmengine.runner.runner.MMDistributedDataParallel', wrap)
    monkeypatch.setenv('LOCAL_RANK', '0')
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def log_of():
    """Return a function that reads the log of a runner."""

    def read(runner):
        return ''.join(file.read_text() for file in Path(runner.log_dir).glob('*.log'))

    return read

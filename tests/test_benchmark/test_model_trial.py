import json
import os
import subprocess
import sys

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModel

from mmscratch.benchmark.model_trial import distinct_models, plain, reason, rows, try_model
from mmscratch.ops.absent_op import absent_op


class Toy(BaseModel):
    """Does in training what the test wants."""

    def __init__(self, how: str) -> None:
        super().__init__(dict(type='mmdet.DetDataPreprocessor'))
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.factor = getattr(self, how)

    def forward(self, inputs, data_samples, mode):
        assert len(inputs) == len(data_samples) == (2 if mode == 'loss' else 1)
        if mode == 'predict':
            assert not torch.is_grad_enabled()
            return []
        return dict(loss=self.weight * self.factor(inputs))

    def large(self, inputs):
        assert inputs.shape[2:] >= (512, 512)
        return 1

    def nan(self, inputs):
        return float('nan')

    def absent(self, inputs):
        return absent_op('carafe_forward')(inputs)

    def dies(self, inputs):
        os._exit(3)

    def slow(self, inputs):
        while True:
            pass


TRY = """
import json, runpy, sys
from pathlib import Path
from mmdet.registry import MODELS

_, file, folder = sys.argv
names = runpy.run_path(file)
MODELS.register_module(module=names['Toy'])
for how in ('large', 'nan', 'absent', 'dies', 'slow'):
    model = names['ConfigDict'](type='Toy', how=how)
    print(json.dumps(names['try_model'](model, Path(folder), seconds=6 if how == 'slow' else 60)))
"""


def test_outcome_of_a_model(tmp_path):
    # torch refuses gradients in a fork of a process that has computed some, as tests have
    command = [sys.executable, '-c', TRY, __file__, tmp_path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    records = [json.loads(line) for line in done.stdout.splitlines()[-5:]]
    assert min(record.pop('seconds') for record in records) >= 0
    assert records == [
        dict(build='ok', train='ok', predict='ok'),
        dict(build='ok', train='ArithmeticError: loss nan', predict='ok'),
        dict(build='ok', train='operator carafe_forward', predict='ok'),
        dict(build='ok', train='the process ended with status 3'),
        dict(build='ok', train='more than 6 seconds'),
    ]


def test_a_model_that_cannot_be_built_is_not_run(tmp_path):
    record = try_model(ConfigDict(type='mmdet.RetinaNet'), tmp_path, seconds=60)
    assert set(record) == {'build', 'seconds'}
    assert "missing 3 required positional arguments: 'backbone'" in record['build']


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (ModuleNotFoundError("No module named 'lap'"), 'package lap'),
        (
            RuntimeError('transformers is not installed, please install it by: x'),
            'package transformers',
        ),
        (ImportError('Please run "pip install sklearn" to install it.'), 'package sklearn'),
        (NotImplementedError('Please install Detectron2 first'), 'package Detectron2'),
        (ValueError('first line\nsecond line'), 'ValueError: first line'),
    ],
)
def test_reason_in_a_few_words(error, text):
    assert reason(error) == text


def test_weights_are_not_loaded():
    pretrained = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    model = ConfigDict(
        type='A',
        teacher_ckpt='https://',
        neck=[dict(init_cfg=dict(type='Xavier')), dict(init_cfg=dict(checkpoint='x'))],
        backbone=dict(pretrained='x', depth=50, init_cfg=pretrained),
    )
    assert plain(model) == dict(
        type='A', neck=[dict(init_cfg=dict(type='Xavier')), {}], backbone=dict(depth=50)
    )


def test_models_that_differ_in_numbers_are_tried_once(tmp_path):
    (tmp_path / '_base_').mkdir()
    for name, text in {
        '_base_/base.py': "model = dict(type='A', depth=50)",
        'a.py': "model = dict(type='A', depth=50)",
        'b.py': "model = dict(depth=50, type='A', pretrained='weights')\nlr = 1",
        'c.py': "model = dict(type='A', depth=101)",
        'd.py': "model = dict(type='B', depth=50)",
        'e.py': "model = dict(type='B', depth=False)",
        'dataset.py': 'data = 1',
        'faulty.py': "_base_ = './absent.py'",
    }.items():
        (tmp_path / name).write_text(text)
    models, faults = distinct_models(tmp_path)
    assert [names for names, _ in models] == [['a.py', 'b.py', 'c.py'], ['d.py'], ['e.py']]
    assert list(faults) == ['faulty.py']
    assert str(tmp_path) not in faults['faulty.py']


def test_table_counts_configs_by_the_first_failure():
    measured = dict(
        not_loaded={'a': 'package x'},
        models=[
            dict(configs=['b', 'c'], build='ok', train='ok', predict='ok'),
            dict(configs=['d'], build='package x'),
            dict(configs=['e'], build='ok', train='operator y', predict='operator z'),
        ],
    )
    assert rows(measured)[1:] == [
        ['builds, trains, predicts', '2'],
        ['needs a package: x (2)', '2'],
        ['needs an operator that is absent: y (1)', '1'],
    ]


def test_tool_continues_its_file(run_tool, tmp_path):
    (tmp_path / 'configs').mkdir()
    base = "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n"
    (tmp_path / 'configs/good.py').write_text(base)
    (tmp_path / 'configs/bad.py').write_text(f"{base}model = dict(neck=dict(type='Absent'))\n")
    out = tmp_path / 'out.json'
    command = ['analysis/mmdet_configs.py', '--configs', tmp_path / 'configs', '--out', out]
    run_tool(*command)
    measured = json.loads(out.read_text())
    bad, good = measured['models']
    assert bad['configs'] == ['bad.py']
    assert 'Absent is not in the mmdet::model registry' in bad['build']
    assert [good[key] for key in ('configs', 'build', 'train', 'predict')] == [
        ['good.py'], 'ok', 'ok', 'ok',
    ]  # fmt: skip

    good['seconds'] = bad['seconds'] = -1
    out.write_text(json.dumps(measured))
    run_tool(*command, '--retry')
    again = json.loads(out.read_text())['models']
    assert [entry['seconds'] == -1 for entry in again] == [False, True]

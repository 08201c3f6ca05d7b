"""The evaluation of a release, which may be a stranger's."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmscratch.errors import InputError
from mmscratch.weights import verification
from mmscratch.weights.verification import compare, config_to_test, evaluate

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'


def to_test(**changes) -> Config:
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(changes)
    return config_to_test(cfg.pretty_text, 'a.pth')


def test_what_could_write_files_is_the_repository_s():
    backend = dict(type='LocalVisBackend', save_dir='.', config_save_file='mmscratch/__init__.py')
    cfg = to_test(
        custom_imports=dict(imports=['antigravity']),
        custom_hooks=[dict(type='DetVisualizationHook')],
        visualizer=dict(type='DetLocalVisualizer', vis_backends=[backend]),
        test_evaluator=dict(outfile_prefix='/tmp/a'),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', out_dir='/tmp/b')),
        env_cfg=dict(cudnn_benchmark=True),
    )
    ours = Config.fromfile(CONFIG)
    parts = {key: cfg.pop(key) for key in ('model', 'test_dataloader', 'test_evaluator')}
    assert parts == {key: ours[key] for key in parts}
    rest = Config.fromfile(ROOT / 'configs/_base_/runtime.py').to_dict()
    assert cfg.to_dict() == rest | dict(test_cfg=ours.test_cfg)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(test_evaluator=dict(type='DumpDetResults')), 'its metric DumpDetResults is none of'),
        (dict(test_evaluator=None), 'lacks a part to test'),
        (dict(model=dict(type='Theirs')), "has the type 'Theirs', which is not registered"),
    ],
)
def test_a_config_that_is_not_tested(changes, said):
    with pytest.raises(InputError, match=said):
        to_test(**changes)


@pytest.mark.parametrize('told', [0.302, float('nan'), None, '0.3'])
def test_another_number_and_none_at_all_are_refused(told):
    found = dict(bbox_mAP=0.3, bbox_mAP_50=0.5)
    with pytest.raises(InputError, match=r'bbox_mAP is another; bbox_mAP: 0\.3000, the release'):
        compare(Path('a.pth'), found, dict(bbox_mAP=told))
    with pytest.raises(InputError, match='has no AP that the test gives'):
        compare(Path('a.pth'), found, dict(segm_mAP=told))
    assert compare(Path('a.pth'), found, dict(bbox_mAP=0.3005))


@pytest.fixture
def release(tmp_path):
    meta = dict(iter=4, cfg=Config.fromfile(CONFIG).pretty_text)
    torch.save(dict(meta=meta, state_dict=dict(w=torch.ones(1))), tmp_path / 'a.pth')
    return tmp_path / 'a.pth'


@pytest.mark.parametrize(
    'text', ['{"history": [', '{}', '[]', '{"history": [{}]}', '{"history": 5}']
)
def test_a_damaged_report_is_one_line(text, release):
    release.with_suffix('.metrics.json').write_text(text)
    with pytest.raises(InputError, match=r'a\.metrics\.json: is damaged; download it again'):
        evaluate(release, release.parent)


@pytest.mark.parametrize(
    ('said', 'expected'),
    [
        ('', 'its test ended with status -9'),
        ('a warning', 'its test ended with status -9'),
        ('error: x: no such file\nbye', '^x: no such file$'),
    ],
)
def test_a_test_that_fails_is_one_line(said, expected, release, monkeypatch):
    def run(command, **options):
        return subprocess.CompletedProcess(command, -9, '', said)

    monkeypatch.setattr(verification.subprocess, 'run', run)
    release.with_suffix('.metrics.json').write_text(json.dumps(dict(history=[dict(iteration=4)])))
    with pytest.raises(InputError, match=expected):
        evaluate(release, release.parent)

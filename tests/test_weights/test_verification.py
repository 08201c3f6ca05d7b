"""The evaluation of a release, which may be a stranger's."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmscratch.errors import InputError
from mmscratch.weights.verification import config_to_test

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

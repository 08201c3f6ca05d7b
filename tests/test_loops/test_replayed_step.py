"""A real detector trains until an image with a broken box comes, and that step is taken again."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmscratch.config.runner_config import fit_to_runner
from mmscratch.data import layouts
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    'train_cfg.max_iters': 3,
    'train_cfg.accumulation': 2,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'default_hooks.checkpoint.interval': -1,
}


@pytest.fixture
def tool(monkeypatch):
    """Return a function that runs the tool on a file."""
    spec = importlib.util.spec_from_file_location('replay', ROOT / 'tools/analysis/replay.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(file: Path) -> None:
        monkeypatch.setattr('sys.argv', ['replay.py', str(file)])
        module.main()

    return run


def test_the_step_is_the_same_to_the_bit_and_the_box_is_found(tmp_path, tool, capsys):
    data = tmp_path / 'data'
    generate(data, ShapesConfig(size=96), {'train': 8, 'val': 1}, progress=False)
    cfg = Config.fromfile(ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    layouts.use_folder(cfg, data)
    cfg.merge_from_dict(OPTIONS)
    del cfg.default_hooks.preflight, cfg.default_hooks.visualization
    fit_to_runner(cfg)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.randomness = dict(seed=3)
    runner = Runner.from_cfg(cfg)

    def spoil(packed):
        sample = packed['data_samples']
        if sample.img_path.endswith('000003.png'):
            sample.gt_instances.bboxes.tensor[1, 2] = torch.inf
        return packed

    runner.train_dataloader.dataset.pipeline.transforms.append(spoil)
    with pytest.raises(InputError, match=r'000003\.png.*; tools/analysis/replay\.py'):
        runner.train()
    capsys.readouterr()
    tool(tmp_path / 'run/bad_step.pt')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'iteration 1, 2 batches'
    terms = ('loss', *(f'loss_{name}' for name in ('rpn_cls', 'rpn_bbox', 'cls', 'bbox', 'mask')))
    for name, line in zip(terms, lines[1:], strict=False):
        assert line.startswith(f'{name}: ')
        assert line.endswith(' now, the same to the last bit')
        assert ('nan then, nan now' in line) == (name in ('loss', 'loss_bbox'))
    assert lines[7:] == [
        'first not finite: the output of roi_head.bbox_head.loss_bbox (L1Loss); its inputs are not '
        'finite',
        '000000000003.png alone breaks loss and loss_bbox',
        '  with box 2 of 4 alone: x1, y1, x2, y2 = 18, 14, inf, 27',
    ]

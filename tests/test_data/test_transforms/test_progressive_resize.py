from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.config.batch_plan import progressive_resizes
from mmscratch.config.schedule_length import set_iterations
from mmscratch.data.layouts import use_folder
from mmscratch.data.seeded_dataset import SeededDataset
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.data.transforms import ProgressiveResize
from mmscratch.errors import InputError

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


class Images:
    """One image with a box and a mask, through a transform."""

    def __init__(self, transform):
        self.transform = transform

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return self.transform(
            dict(
                img=rng.integers(0, 256, (40, 60, 3), dtype=np.uint8),
                gt_bboxes=HorizontalBoxes([[3.0, 2.0, 30.0, 20.0]]),
                gt_masks=BitmapMasks(rng.integers(0, 2, (1, 40, 60), dtype=np.uint8), 40, 60),
            )
        )


def stages() -> ProgressiveResize:
    return TRANSFORMS.build(
        dict(type='ProgressiveResize', scales=[(30, 20), [45, 30], (90, 60)], begins=[0, 5, 9])
    )


@pytest.mark.parametrize(
    ('step', 'scale'),
    [(0, (30, 20)), (4, (30, 20)), (5, (45, 30)), (8, (45, 30)), (9, (90, 60)), (10**6, (90, 60))],
)
def test_the_step_alone_decides_the_scale(step, scale):
    data = SeededDataset(Images(stages()), seed=0)
    data[1, 7]  # what was loaded before does not count
    found, expected = data[3, step], Images(Resize(scale=scale, keep_ratio=True))[3]
    assert found['img'].shape == (scale[1], scale[0], 3)
    np.testing.assert_array_equal(found['img'], expected['img'])
    np.testing.assert_array_equal(found['gt_masks'].masks, expected['gt_masks'].masks)
    assert found['gt_bboxes'].tensor.tolist() == expected['gt_bboxes'].tensor.tolist()
    assert found['scale_factor'] == expected['scale_factor']


@pytest.mark.parametrize('begins', [[], [0], [1, 5, 9], [0, 9, 5]])
def test_begins_that_do_not_fit_are_refused(begins):
    with pytest.raises(InputError, match='rise from 0, with one number for each of the 3 scales'):
        ProgressiveResize(scales=[(30, 20), (45, 30), (90, 60)], begins=begins)


def test_without_a_step_the_loop_to_set_is_named():
    with pytest.raises(InputError, match='ResumableIterBasedTrainLoop'):
        Images(stages())[0]


@pytest.mark.filterwarnings('ignore')
def test_a_run_resumed_before_a_new_scale_equals_the_straight_run(tmp_path):
    """With the fast recipe: its optimizer, its schedule, and scales that change at step 2."""
    generate(tmp_path / 'data', ShapesConfig(size=96), {'train': 4, 'val': 1}, progress=False)
    sides = []

    class Sides(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            sides.append(data_batch['inputs'][0].shape[-1])

    def train(name: str, resume: str | None = None) -> Runner:
        cfg = Config.fromfile(CONFIGS / 'miniature/mask_rcnn_r18_gn_fast.py')
        use_folder(cfg, tmp_path / 'data')
        set_iterations(cfg, 4)
        [resize] = progressive_resizes(cfg)
        resize.update(scales=[(64, 64), (96, 96)], begins=[0, 2])
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        cfg.train_cfg.val_interval = 4
        cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
        cfg.log_level = 'ERROR'
        cfg.update(work_dir=str(tmp_path / name), randomness=dict(seed=0), load_from=resume)
        cfg.resume = bool(resume)
        runner = Runner.from_cfg(cfg)
        runner.register_hook(Sides())
        runner.train()
        return runner

    straight = train('straight').model.state_dict()
    resumed = train('resumed', str(tmp_path / 'straight/iter_1.pth')).model.state_dict()
    assert sides == [64, 64, 96, 96] + [64, 96, 96]
    assert all(torch.equal(resumed[name], weight) for name, weight in straight.items())

"""What a worker of a shipped config's data loader is like."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import Dataset

from mmscratch.data.layouts import use_folder
from mmscratch.data.shapes.drawing import ShapesConfig, generate


class Threads(Dataset):
    """Loads an image, and tells of threads in its place."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        assert self.dataset[index]['inputs'].shape[1:] == (800, 1067)
        return cv2.getNumThreads(), torch.get_num_threads()


@pytest.fixture
def many_threads():
    """As on a large machine, whatever this one has."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(8)
    torch.set_num_threads(8)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def test_a_worker_has_one_thread_for_images(tmp_path, many_threads):
    counts = dict(train=8, val=1)
    generate(tmp_path, ShapesConfig(size=(160, 120), objects=(1, 2)), counts, progress=False)
    cfg = Config.fromfile('configs/scratch/mask_rcnn_r50_gn_2x.py')
    use_folder(cfg, tmp_path)
    loader = cfg.train_dataloader
    loader.update(num_workers=1, persistent_workers=False, batch_sampler=None, drop_last=False)
    loader.sampler = dict(type='DefaultSampler', shuffle=False)
    dataset = Runner.build_dataloader(loader).dataset
    set_multi_processing(**cfg.env_cfg.mp_cfg)
    loader.update(dataset=Threads(dataset), batch_size=1)
    told = list(Runner.build_dataloader(loader, seed=0))
    assert len(told) == 8
    opencv, of_torch = np.array([np.ravel(batch) for batch in told]).T
    assert set(opencv) == set(of_torch) == {1}

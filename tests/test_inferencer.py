"""What inference writes beyond what MMDetection's does; tests/test_tools.py runs the tool."""

import json
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image

from mmscratch.inferencer import Inferencer

CONFIG = Path(__file__).parents[1] / 'configs/scratch/keypoint_rcnn_r18_gn_600i_shapes.py'


def test_names_and_keypoints_are_written(tmp_path):
    config = Config.fromfile(CONFIG)
    config.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=3)
    torch.manual_seed(0)
    classes = ('bar', 'circle', 'diamond', 'square', 'star', 'triangle')
    meta = dict(cfg=config.pretty_text, dataset_meta=dict(classes=classes))
    state = MODELS.build(config.model).state_dict()
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'random.pth')
    inferencer = Inferencer(weights=str(tmp_path / 'random.pth'), device='cpu', show_progress=False)
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'one.png')
    inferencer(str(tmp_path / 'one.png'), out_dir=str(tmp_path), no_save_pred=False)
    assert (tmp_path / 'vis/one.png').is_file()
    found = json.loads((tmp_path / 'preds/one.json').read_text())
    points = np.array(found['keypoints'])
    assert points.shape == (3, config.model.roi_head.keypoint_head.num_keypoints, 3)
    # in the image's own pixels, whatever it was resized to
    assert (points[..., :2] >= 0).all()
    assert (points[..., :2] <= (128, 96)).all()
    assert found['names'] == [classes[label] for label in found['labels']]

"""The dense part of a detector, run in one call."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmscratch.benchmark.dense_part import run_dense_part_at_once


@pytest.mark.parametrize('how', ['graph', 'default'])
def test_features_scores_and_gradients_are_those_of_before(how, device):
    cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model).to(device).train()
    images = torch.randn(2, 3, 64, 96, device=device)

    def run():
        for _ in range(2):  # a graph's second replay is as good as its first
            detector.zero_grad()
            features = detector.extract_feat(images)
            scores, deltas = detector.rpn_head(features)
            sum((x**2).mean() for x in (*features, *scores, *deltas)).backward()
        gradients = [p.grad.clone() for p in detector.parameters() if p.grad is not None]
        return [*features, *scores, *deltas, *gradients]

    expected = [x.detach().clone() for x in run()]
    run_dense_part_at_once(detector, images, how)
    own = run()
    assert len(own) == len(expected)
    for mine, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)

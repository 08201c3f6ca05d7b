from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmscratch.hooks.comparison_pictures_hook import ComparisonPicturesHook
from mmscratch.visualization import KeypointVisualizer
from mmscratch.visualization.keypoint_visualizer import GAP


@pytest.fixture
def runner(tmp_path) -> SimpleNamespace:
    visualizer = KeypointVisualizer.get_instance('pictures')
    visualizer.dataset_meta = dict(classes=('disc',), palette=[(255, 0, 0)])
    return SimpleNamespace(rank=0, iter=5, work_dir=str(tmp_path), cfg={})


def sample(folder, name: str, scores: list[float]) -> DetDataSample:
    path = folder / f'{name}.png'
    cv2.imwrite(str(path), np.full((40, 60, 3), 200, np.uint8))
    result = DetDataSample(metainfo=dict(img_path=str(path)))
    box = torch.tensor([[5.0, 5.0, 30.0, 30.0]])
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 5:30, 5:30] = 1
    result.gt_instances = InstanceData(
        bboxes=box, labels=torch.zeros(1, dtype=torch.long), masks=BitmapMasks(mask, 40, 60)
    )
    count = len(scores)
    result.pred_instances = InstanceData(
        bboxes=box.repeat(count, 1),
        labels=torch.zeros(count, dtype=torch.long),
        scores=torch.tensor(scores),
        masks=torch.from_numpy(mask).bool().repeat(count, 1, 1),
    )
    return result


def test_truth_left_and_detections_above_the_threshold_right(runner, tmp_path):
    hook = ComparisonPicturesHook(num_images=2, score_thr=0.5, min_side=80)
    samples = [sample(tmp_path, 'sure', [0.9]), sample(tmp_path, 'unsure', [0.4])]
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=samples)
    inside = slice(20, 50), slice(20, 50)
    for name, is_drawn in (('sure', True), ('unsure', False)):
        picture = cv2.imread(str(tmp_path / 'pictures' / f'{name}.png')).astype(int)
        assert picture.shape[:2] == (80, 240 + GAP)
        left, right = picture[:, :120], picture[:, 120 + GAP :]
        assert (picture[:, 120 : 120 + GAP] == 255).all()
        assert np.ptp(left[inside], axis=2).max() > 50
        assert (np.ptp(right[inside], axis=2).max() > 50) == is_drawn
        assert (left[inside] == right[inside]).all() == is_drawn


def test_the_same_first_images_at_every_validation(runner, tmp_path):
    hook = ComparisonPicturesHook(num_images=2)
    for _ in range(2):
        hook.before_val_epoch(runner)
        for name in ('a', 'b', 'c'):
            hook.after_val_iter(runner, 0, outputs=[sample(tmp_path, name, [])])
    assert sorted(p.name for p in (tmp_path / 'pictures').glob('*.png')) == ['a.png', 'b.png']


def test_only_the_main_process_draws(runner, tmp_path):
    runner.rank = 1
    hook = ComparisonPicturesHook()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[sample(tmp_path, 'a', [])])
    assert not (tmp_path / 'pictures').exists()


def test_keypoints_are_enlarged_with_the_image(runner, tmp_path):
    """One red point, labelled at (10, 20) and detected at (40, 30), drawn at twice the size."""
    visualizer = KeypointVisualizer.get_instance('keypoints')
    visualizer.dataset_meta = dict(classes=('disc',), palette=[(0, 0, 255)])
    both = sample(tmp_path, 'points', [0.9])
    both.gt_instances.keypoints = torch.tensor([[[10.0, 20, 2]]])
    both.pred_instances.keypoints = torch.tensor([[[40.0, 30, 0.9]]])
    for instances in (both.gt_instances, both.pred_instances):
        del instances.masks
    hook = ComparisonPicturesHook(min_side=80)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[both])
    picture = cv2.imread(str(tmp_path / 'pictures/points.png')).astype(int)
    red = (picture[..., 2] > 180) & (picture[..., :2].max(axis=2) < 60)
    places = {'truth': (40, 20), 'detected': (60, 120 + GAP + 80)}
    assert all(red[place] for place in places.values())
    assert both.pred_instances.keypoints[0, 0, 0] == 40, 'the sample itself stays'

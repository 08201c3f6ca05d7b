import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS

from mmscratch.data.transforms import PackKeypointInputs
from mmscratch.errors import InputError

# nose, left ear, right ear, tail (not labelled)
KEYPOINTS = [[3, 4, 2], [10, 5, 1], [20, 6, 2], [0, 0, 0]]


def results() -> dict:
    """A red pixel in an image of 30 x 20 where the nose is."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[4, 3] = 255
    instance = dict(bbox=[1.0, 2.0, 25.0, 9.0], bbox_label=0, ignore_flag=0)
    instance['keypoints'] = [number for point in KEYPOINTS for number in point]
    crowd = {**instance, 'ignore_flag': 1, 'keypoints': [0] * 12}
    return dict(
        img=image,
        img_shape=(20, 30),
        ori_shape=(20, 30),
        instances=[crowd, instance],
        keypoint_order=[0, 2, 1, 3],
    )


def run(*steps: dict) -> tuple[torch.Tensor, dict]:
    steps = [dict(type='LoadKeypointAnnotations'), *steps, dict(type='PackKeypointInputs')]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    packed = pipeline(results())
    instances = packed['data_samples'].gt_instances
    assert len(instances) == 1, 'crowds are packed as ignored'
    assert packed['data_samples'].ignored_instances.keypoints.shape == (1, 4, 3)
    assert instances.keypoints.dtype == torch.float32
    return instances.keypoints[0], packed


FLIP = dict(type='RandomFlip', prob=1.0)


def test_as_loaded():
    keypoints, _ = run()
    assert keypoints.tolist() == [[3.5, 4.5, 2], [10.5, 5.5, 1], [20.5, 6.5, 2], [0, 0, 0]]


def test_resizing_scales_both_axes_by_their_own_factor():
    keypoints, _ = run(dict(type='Resize', scale=(90, 40), keep_ratio=False))
    assert keypoints.tolist() == [[10.5, 9, 2], [31.5, 11, 1], [61.5, 13, 2], [0, 0, 0]]


@pytest.mark.parametrize(
    ('step', 'factor'),
    [
        (dict(type='ShrinkToFit', scale=(30, 20)), 1),
        (dict(type='ShrinkToFit', scale=(15, 10)), 0.5),
        (dict(type='RandomChoiceResize', scales=[(60, 40)], resize_type='mmdet.Resize'), 2),
    ],
)
def test_every_kind_of_resizing(step, factor):
    keypoints, _ = run(step)
    expected = run()[0]
    expected[:3, :2] *= factor
    torch.testing.assert_close(keypoints, expected)


def test_a_flip_mirrors_and_swaps_left_and_right():
    keypoints, packed = run(FLIP)
    # what was the left ear is now at the place of a right ear
    assert keypoints.tolist() == [[26.5, 4.5, 2], [9.5, 6.5, 2], [19.5, 5.5, 1], [0, 0, 0]]
    x, y = (int(value) for value in keypoints[0, :2])
    assert packed['inputs'][:, y, x].tolist() == [255] * 3


def test_two_flips_are_none():
    torch.testing.assert_close(run(FLIP, FLIP)[0], run()[0])


def test_upside_down_is_a_mirror_image_too():
    keypoints, _ = run(dict(FLIP, direction='vertical'))
    assert keypoints[:3].tolist() == [[3.5, 15.5, 2], [20.5, 13.5, 2], [10.5, 14.5, 1]]


def test_half_a_turn_swaps_nothing():
    keypoints, _ = run(dict(FLIP, direction='diagonal'))
    assert keypoints[:3].tolist() == [[26.5, 15.5, 2], [19.5, 14.5, 1], [9.5, 13.5, 2]]


def test_order_of_flip_and_resize_does_not_matter():
    resize = dict(type='Resize', scale=(60, 40))
    torch.testing.assert_close(run(FLIP, resize)[0], run(resize, FLIP)[0])


def test_transforms_that_leave_out_instances_are_told():
    data = TRANSFORMS.build(dict(type='LoadKeypointAnnotations'))(results())
    data['gt_bboxes'] = data['gt_bboxes'][:1]
    with pytest.raises(InputError, match='1 of 2 instances are left'):
        PackKeypointInputs()(data)


def test_without_keypoints_it_is_packdetinputs():
    packed = PackKeypointInputs(meta_keys=())(dict(img=np.zeros((4, 5, 3), np.uint8)))
    assert packed['inputs'].shape == (3, 4, 5)
    assert 'keypoints' not in packed['data_samples'].gt_instances

import numpy as np
from mmcv.transforms import Compose

from mmscratch.data.transforms import LoadKeypointAnnotations


def results(count: int = 2) -> dict:
    instances = [
        dict(
            bbox=[1.0, 2.0, 9.0, 9.0],
            bbox_label=0,
            ignore_flag=0,
            keypoints=[3, 4 + number, 2, 5, 6, 1, 0, 0, 0],
        )
        for number in range(count)
    ]
    return dict(
        img=np.zeros((20, 30, 3), np.uint8),
        img_shape=(20, 30),
        ori_shape=(20, 30),
        instances=instances,
        keypoint_order=[1, 0, 2],
    )


def test_pixel_indices_become_the_middles_of_pixels():
    found = LoadKeypointAnnotations()(results())
    assert found['gt_keypoints'].dtype == np.float32
    assert found['gt_keypoints'][1, :2].tolist() == [[3.5, 5.5, 2], [5.5, 6.5, 1]]
    assert found['gt_keypoints'][:, 2, 2].tolist() == [0, 0]
    assert len(found['gt_bboxes']) == 2
    np.testing.assert_array_equal(found['keypoint_frame'], np.eye(3))


def test_an_image_without_objects():
    assert LoadKeypointAnnotations()(results(0))['gt_keypoints'].shape == (0, 3, 3)


def test_an_image_without_annotations_as_for_inference():
    bare = results()
    del bare['instances'], bare['keypoint_order']
    assert 'gt_keypoints' not in LoadKeypointAnnotations()(bare)


def test_loaded_after_resizing_they_are_the_original_images():
    """As in pipelines for testing, where the ground truth stays in the original image."""
    pipeline = Compose(
        [
            dict(type='mmdet.Resize', scale=(60, 40)),
            dict(type='mmdet.LoadKeypointAnnotations'),
            dict(type='mmdet.PackKeypointInputs', meta_keys=()),
        ]
    )
    keypoints = pipeline(results())['data_samples'].gt_instances.keypoints
    assert keypoints[0].tolist() == [[3.5, 4.5, 2], [5.5, 6.5, 1], [0, 0, 0]]

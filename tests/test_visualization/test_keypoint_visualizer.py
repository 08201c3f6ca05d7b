import numpy as np
import torch
from mmengine.structures import InstanceData

from mmscratch.visualization import KeypointVisualizer


def draw(keypoints: list[list[float]]) -> np.ndarray:
    visualizer = KeypointVisualizer()
    instances = InstanceData(
        bboxes=torch.zeros(1, 4),
        labels=torch.zeros(1, dtype=torch.long),
        keypoints=torch.tensor([keypoints]),
    )
    image = np.zeros((100, 120, 3), np.uint8)
    return visualizer._draw_instances(image, instances, ['disc'], [(0, 0, 255)]).astype(int)


def test_each_is_drawn_at_its_place_in_its_colour():
    picture = draw([[20, 30, 0.9], [80, 50, 2]])
    assert picture.shape == (100, 120, 3)
    red, green, blue = picture[30, 20]
    assert red > 200
    assert max(green, blue) < 60
    # the second of two has the opposite colour, cyan
    red, green, blue = picture[50, 80]
    assert red < 60
    assert min(green, blue) > 200
    assert picture[70:].sum() == 0


def test_unlikely_and_unlabelled_ones_are_not_drawn():
    assert draw([[20, 30, 0.04], [80, 50, 0]]).sum() == 0


def test_points_at_the_border_do_not_move_the_picture():
    image = np.zeros((100, 120, 3), np.uint8)
    image[40:60, 50:70] = 255
    instances = InstanceData(
        bboxes=torch.zeros(1, 4),
        labels=torch.zeros(1, dtype=torch.long),
        keypoints=torch.tensor([[[0.0, 0, 1], [120, 100, 1], [-5, 50, 1]]]),
    )
    picture = KeypointVisualizer()._draw_instances(image, instances, ['disc'], [(0, 0, 255)])
    np.testing.assert_array_equal(picture[20:80, 20:100], image[20:80, 20:100])
    assert picture[0, 0].any()


def test_nothing_detected():
    visualizer = KeypointVisualizer()
    nothing = InstanceData(
        bboxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.long),
        keypoints=torch.zeros(0, 3, 3),
    )
    image = np.zeros((40, 40, 3), np.uint8)
    assert visualizer._draw_instances(image, nothing, ['disc'], [(0, 0, 255)]).sum() == 0

import numpy as np
import torch
from mmdet.structures.mask import mask2bbox
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
        masks=torch.zeros(0, 40, 40, dtype=torch.bool),
    )
    image = np.zeros((40, 40, 3), np.uint8)
    assert visualizer._draw_instances(image, nothing, ['disc'], [(0, 0, 255)]).sum() == 0


def test_the_image_shows_through_a_mask_of_its_class_colour():
    image = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    masks = torch.zeros(2, 90, 90, dtype=torch.bool)
    masks[0, 20:50, 20:50] = masks[1, 60:80, 60:80] = True
    instances = InstanceData(bboxes=mask2bbox(masks), labels=torch.tensor([0, 0]), masks=masks)
    visualizer = KeypointVisualizer(alpha=0.25)
    drawn = visualizer._draw_instances(image, instances, ['disc'], [(0, 0, 255)])
    for inside in (slice(25, 45), slice(65, 75)):
        expected = 0.75 * image[inside, inside] + 0.25 * np.array([0, 0, 255])
        np.testing.assert_array_equal(drawn[inside, inside], expected.astype(np.uint8))
    again = visualizer._draw_instances(image, instances, ['disc'], [(0, 0, 255)])
    np.testing.assert_array_equal(drawn, again)


def test_a_label_covers_neither_its_object_nor_its_neighbour():
    """Two small objects, one above the other, so that the lower one's label goes below."""
    image = np.zeros((200, 200, 3), np.uint8)
    boxes = torch.tensor([[80.0, 60, 100, 80], [80.0, 82, 100, 102]])
    instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 0]), scores=torch.ones(2))
    drawn = KeypointVisualizer()._draw_instances(image, instances, ['rectangle'], [(255, 0, 0)])
    assert drawn[63:78, 83:98].sum() == drawn[85:100, 83:98].sum() == 0
    assert drawn[45:58, 81:99].any()
    assert drawn[104:115, 81:99].any()


def test_detections_without_boxes_are_named_at_their_masks():
    image = np.zeros((200, 200, 3), np.uint8)
    masks = torch.zeros(1, 200, 200, dtype=torch.bool)
    masks[0, 100:150, 100:150] = True
    instances = InstanceData(
        bboxes=torch.zeros(1, 4), labels=torch.tensor([0]), scores=torch.ones(1), masks=masks
    )
    drawn = KeypointVisualizer()._draw_instances(image, instances, ['disc'], [(255, 0, 0)])
    assert drawn[86:98, 101:130].any()
    assert drawn[:80].sum() == 0

import json
from pathlib import Path

import pytest

from mmscratch.data.coco_keypoint_dataset import CocoKeypointDataset, flip_pairs
from mmscratch.errors import InputError

NAMES = ['nose', 'left_ear', 'right_ear', 'tail']
META = dict(
    classes=('cat', 'dog'),
    keypoint_names=NAMES,
    flip_pairs=[(1, 2)],
    keypoint_sigmas=[0.05] * 4,
)
NONE = [0] * 12


def annotation(number: int, image_id: int, keypoints: list | None, **more) -> dict:
    row = dict(id=number, image_id=image_id, category_id=1, area=100, iscrowd=0)
    row |= dict(bbox=[10, 10, 10, 10]) | more
    return row if keypoints is None else row | dict(keypoints=keypoints)


@pytest.fixture
def make(tmp_path):
    """Six images; what is on them is in the comments."""

    def build(annotations: list[dict] | None = None, metainfo: dict = META, **kwargs):
        nose = [3, 4, 2] + NONE[3:]
        annotations = (
            annotations
            or [
                annotation(1, 1, nose),  # labelled
                annotation(2, 1, NONE),  # and one without keypoints
                annotation(3, 2, NONE),  # nothing but one without
                annotation(4, 3, None),  # without the key
                annotation(5, 4, [3, 4, 1] + NONE[3:], category_id=2),  # hidden ones count
                annotation(6, 5, nose, iscrowd=1),  # a crowd does not train
                annotation(
                    7, 5, nose, bbox=[10, 10, 0.5, 10]
                ),  # nor does what MMDetection leaves out
                annotation(8, 1, nose, bbox=[90, 90, 10, 10]),  # outside of its image
                annotation(9, 1, [7, 8, 2] + NONE[3:], bbox=[20, 20, 5, 5]),
            ]
        )
        file = tmp_path / 'data.json'
        images = [
            dict(id=n, file_name=f'{n}.png', width=50, height=60 if n == 6 else 40)
            for n in range(1, 7)
        ]
        categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
        file.write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )
        prefix = dict(img='images/')
        return CocoKeypointDataset(
            ann_file=str(file), data_prefix=prefix, metainfo=metainfo, **kwargs
        )

    return build


def test_keypoints_stay_with_their_boxes(make):
    instances = make().get_data_info(0)['instances']
    assert [i['bbox'] for i in instances] == [[10, 10, 20, 20], [10, 10, 20, 20], [20, 20, 25, 25]]
    assert [i['keypoints'][:3] for i in instances] == [[3, 4, 2], [0, 0, 0], [7, 8, 2]]
    assert len(instances[0]['keypoints']) == 12


def test_an_annotation_without_the_key_has_none_labelled(make):
    assert make().get_data_info(2)['instances'][0]['keypoints'] == NONE


def test_training_images_without_labelled_keypoints_are_left_out(make):
    train = make(filter_cfg=dict(filter_empty_gt=True, min_size=0))
    assert [train.get_data_info(i)['img_id'] for i in range(len(train))] == [1, 4]
    assert len(make(filter_cfg=dict(filter_empty_gt=True), test_mode=True)) == 6
    assert len(make()) == 6


def test_the_other_filters_stay(make):
    large = make(filter_cfg=dict(filter_empty_gt=False, min_size=41))
    assert [large.get_data_info(i)['img_id'] for i in range(len(large))] == [6]


def test_mirror_order_goes_with_every_image(make):
    assert make().get_data_info(3)['keypoint_order'] == [0, 2, 1, 3]


def test_cocos_own_keypoints():
    meta = CocoKeypointDataset.METAINFO
    names = meta['keypoint_names']
    assert meta['classes'] == ('person',)
    assert len(names) == len(meta['keypoint_sigmas']) == 17
    assert len(meta['flip_pairs']) == 8
    for left, right in meta['flip_pairs']:
        assert names[left].removeprefix('left') == names[right].removeprefix('right')
    from pycocotools.cocoeval import Params

    assert Params(iouType='keypoints').kpt_oks_sigmas.tolist() == pytest.approx(
        list(meta['keypoint_sigmas'])
    )


def test_pairs_from_names():
    assert flip_pairs(NAMES) == [(1, 2)]
    assert flip_pairs(['leftmost', 'left_eye', 'tail']) == []


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(keypoint_sigmas=[0.05]), '4 keypoint_names but 1 keypoint_sigmas'),
        (dict(flip_pairs=[(1, 4)]), r'flip_pairs has \(1, 4\); give pairs of numbers from 0 to 3'),
        (dict(flip_pairs=[(0, 1), (1, 2)]), r'flip_pairs has \(1, 2\).*each number once'),
    ],
)
def test_metainfo_that_does_not_fit_is_told(make, change, message):
    with pytest.raises(InputError, match=message):
        make(metainfo=META | change)


def test_another_number_of_keypoints_is_told(make):
    with pytest.raises(InputError, match=r'annotation 5 has 6 numbers .* not 12 .* 4 keypoints'):
        make([annotation(5, 1, [0] * 6)])


@pytest.mark.parametrize('bad', ['1', [1], None, 10**400, 1e300])
def test_keypoints_that_are_no_numbers_are_told(make, bad):
    with pytest.raises(InputError, match='annotation 5 has keypoints that are no pixels'):
        make([annotation(5, 1, [3, bad, 2] + NONE[3:])])
    with pytest.raises(InputError, match='annotation 5 has keypoints that are no pixels'):
        make([annotation(5, 1, {'nose': [3, 4, 2]})])


def test_a_test_set_without_any_keypoints_is_told(make):
    with pytest.raises(InputError, match='no image has an object with a labelled keypoint'):
        make([annotation(3, 2, NONE)], test_mode=True)


def test_data_without_any_keypoints_is_told(make):
    with pytest.raises(InputError, match='no image has an object with a labelled keypoint'):
        make([annotation(5, 1, NONE)], filter_cfg=dict(filter_empty_gt=True))


def test_shapes_as_its_config_reads_it(tmp_path):
    """Discs have no corners, rectangles 4, triangles 3, of 12 in the file."""
    from mmengine.config import Config

    from mmscratch.data.shapes.drawing import ShapesConfig, generate

    root = tmp_path / 'shapes'
    generate(root, ShapesConfig(size=96, classes=3, occlusion=0), {'train': 12}, progress=False)
    base = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets/shapes_keypoint.py'
    cfg = Config.fromfile(base).train_dataloader.dataset
    dataset = CocoKeypointDataset(
        ann_file=str(root / 'annotations/instances_train.json'),
        data_prefix=dict(img='train/'),
        metainfo=cfg.metainfo,
    )
    labelled = {0: set(), 1: set(), 2: set()}
    for index in range(len(dataset)):
        for instance in dataset.get_data_info(index)['instances']:
            visible = [v > 0 for v in instance['keypoints'][2::3]]
            labelled[instance['bbox_label']].add(sum(visible))
    assert labelled == {0: {0}, 1: {4}, 2: {3}}

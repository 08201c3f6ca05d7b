"""How many detections an image may have."""

from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from mmscratch.config import config_check
from mmscratch.config.detection_limit import limits, set_max_detections
from mmscratch.data.data_report import DataReport
from mmscratch.data.layouts import use_folder
from mmscratch.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs/scratch'
SHIPPED = Path(mmdet.__file__).parent / '.mim/configs'


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_model_and_metric_are_set():
    cfg = load('mask_rcnn_r18_gn_600i_shapes')
    before = cfg.model.train_cfg.to_dict()
    set_max_detections(cfg, 400)
    assert cfg.model.test_cfg.rcnn.max_per_img == 400
    assert (cfg.model.test_cfg.rpn.max_per_img, cfg.model.test_cfg.rpn.nms_pre) == (400, 500)
    assert cfg.val_evaluator.proposal_nums == cfg.test_evaluator.proposal_nums == [1, 10, 400]
    assert cfg.model.train_cfg.to_dict() == before
    config_check.check_keys(cfg)
    set_max_detections(cfg, 50)
    assert (cfg.model.test_cfg.rcnn.max_per_img, cfg.model.test_cfg.rpn.max_per_img) == (50, 400)


def test_keypoints_and_vocs_metric():
    cfg = load('keypoint_rcnn_r18_gn_600i_shapes')
    set_max_detections(cfg, 150)
    assert cfg.val_evaluator.proposal_nums == [1, 10, 150]
    cfg = load('ssd300_vgg16_nonorm_120k_voc07p12')
    before = cfg.val_evaluator.to_dict()
    set_max_detections(cfg, 1500)
    assert (cfg.model.test_cfg.max_per_img, cfg.model.test_cfg.nms_pre) == (1500, 1500)
    assert cfg.val_evaluator.to_dict() == before


@pytest.mark.parametrize(
    ('name', 'number', 'message'),
    [
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 10, 'give 11 or more'),
        ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 300, "CocoMetric is .* type='FullCocoMetric'"),
        ('detr/detr_r50_8xb2-150e_coco', 300, r'finds 100 objects an image at most \(num_queries'),
        (
            'rpn/rpn_r50_fpn_1x_coco',
            300,
            r'test_cfg of the config has no max_per_im',
        ),
    ],
)
def test_what_cannot_be_set_is_refused(name, number, message):
    cfg = Config.fromfile(SHIPPED / f'{name}.py')
    with pytest.raises(InputError, match=f'^--max-detections {number}: .*{message}'):
        set_max_detections(cfg, number)


def test_mmdetections_config_on_a_folder(tmp_path):
    import json

    row = dict(image_id=1, category_id=1, bbox=[0, 0, 9, 9], area=81, iscrowd=0)
    data = dict(
        images=[dict(id=1, file_name='1.png', width=9, height=9)],
        annotations=[dict(row, id=0)],
        categories=[dict(id=1, name='a')],
    )
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(data))
    cfg = Config.fromfile(SHIPPED / 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    use_folder(cfg, tmp_path)
    set_max_detections(cfg, 300)
    assert cfg.model.test_cfg.rcnn.max_per_img == 300
    assert cfg.val_evaluator.proposal_nums == [1, 10, 300]
    config_check.check_keys(cfg)


def notes(cfg: Config, *crowding: tuple[int, int]) -> list[str]:
    counts = dict.fromkeys(('annotations', 'masks', 'to_find'), 0)
    report = DataReport(
        annotation_file=Path('val.json'),
        sha256='',
        images=9,
        **counts,
        instances={},
        sizes={},
        crowding=list(crowding),
    )
    report.note_crowding(*limits(cfg, 'val'))
    return report.notes


def test_crowded_images_are_told():
    cfg = load('mask_rcnn_r18_gn_600i_shapes')
    assert notes(cfg, (100, 100), (1, 1)) == []
    assert notes(cfg, (101, 60), (150, 70), (3, 3)) == [
        'WARNING: 2 of 9 images have more objects than can be found, up to 150, of one class up to '
        "70: the model keeps 100 detections an image (max_per_img) and COCO's metric counts 100 of "
        'a class (proposal_nums); --max-detections 150 sets both'
    ]
    set_max_detections(cfg, 150)
    assert notes(cfg, (150, 150)) == []
    cfg.model.test_cfg.rcnn.max_per_img = 500
    (note,) = notes(cfg, (200, 151), (200, 150))
    assert note.startswith('WARNING: 1 of 9 images')
    assert note.endswith('--max-detections 500 sets both')


def test_crowded_images_of_keypoints_and_of_voc():
    cfg = load('keypoint_rcnn_r18_gn_600i_shapes')
    (note,) = notes(cfg, (25, 21))
    assert 'counts 20 of a class' in note
    assert note.endswith('--max-detections 100 sets both')
    cfg = load('faster_rcnn_r101_gn_144k_voc0712_ms')
    (note,) = notes(cfg, (120, 120))
    assert note.endswith(
        'the model keeps 100 detections an image (max_per_img); --max-detections 120 sets it'
    )

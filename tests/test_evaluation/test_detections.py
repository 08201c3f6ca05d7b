"""What COCO's evaluation tells of detections, on cases that are worked out by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from PIL import Image

from mmscratch.config.detection_limit import box_limit
from mmscratch.data.layouts import use_folder
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.evaluation.detections import ERRORS, MEAN, Detections, cached

ROOT = Path(__file__).parents[2]

BOX = [10.0, 10.0, 20.0, 20.0]
FAR = [60.0, 60.0, 20.0, 20.0]
# of 20 x 20 pixels; moved by 10 it has an IoU of 200 / 600 with BOX
SHIFTED = [20.0, 10.0, 20.0, 20.0]


def detections(objects: list[list], rows: list[list], images: int = 1) -> Detections:
    """``objects``: image, box, class and optionally 1 for a crowd; ``rows`` with a score each."""
    annotations = [
        dict(
            id=number,
            image_id=image,
            bbox=box,
            area=box[2] * box[3],
            category_id=label + 1,
            iscrowd=sum(crowd),
        )
        for number, (image, box, label, *crowd) in enumerate(objects, 1)
    ]
    truth = dict(
        images=[dict(id=i, width=100, height=100) for i in range(1, images + 1)],
        annotations=annotations,
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
    )
    files = [f'{i}.png' for i in range(1, images + 1)]
    rows = [[image, *box, score, label + 1] for image, box, label, score in rows]
    return Detections(['cat', 'dog'], files, truth, rows)


CASES = {
    'classification': (BOX, 1),
    'localization': (SHIFTED, 0),
    'both': (SHIFTED, 1),
    'background': (FAR, 0),
}


@pytest.mark.parametrize('error', CASES)
def test_each_error_alone(error):
    """One object of class cat; the only detection is wrong in one way."""
    box, label = CASES[error]
    found = detections([[1, BOX, 0]], [[1, box, label, 0.9]]).errors()
    counts = {kind: count for kind, (count, _) in found.items()}
    # corrected, these two find the object; the others leave it missed
    is_correctable = error in ('classification', 'localization')
    assert counts == dict.fromkeys(ERRORS.values(), 0) | {
        error: 1,
        'missed': 0 if is_correctable else 1,
    }
    # AP50 is 0 before, and 1 if the error were none
    assert found[error][1] == pytest.approx(1.0 if is_correctable else 0.0)


def test_what_an_error_costs():
    """Two objects of one class; AP50 is the mean precision at the recalls 0, 0.01, ... 1."""
    objects = [[1, BOX, 0], [1, FAR, 0]]
    # the first found twice, before the second: precision 1 up to recall 0.5, then 2/3
    found = detections(objects, [[1, BOX, 0, 0.9], [1, BOX, 0, 0.8], [1, FAR, 0, 0.7]]).errors()
    assert found['duplicate'] == (1, pytest.approx(50 / 3 / 101))
    # the second is not found: precision 0 above recall 0.5
    found = detections(objects, [[1, BOX, 0, 0.9]]).errors()
    assert found['missed'] == (1, pytest.approx(50 / 101))
    # a wrong one before the right one: precision 1/2
    found = detections([[1, BOX, 0]], [[1, FAR, 0, 0.9], [1, BOX, 0, 0.8]]).errors()
    assert found['background'] == (1, pytest.approx(0.5))


def test_the_errors_are_those_of_tidecv():
    """The numbers are those of tidecv 1.0.1 (with numpy 2.4), whose dAP is in percent."""
    tidecv = dict(
        classification=(10, 5.681888624878082),
        localization=(27, 16.968251673839802),
        both=(13, 1.6084400712315112),
        duplicate=(3, 0.2248764051984189),
        background=(21, 4.768490213076602),
        missed=(28, 8.961008880044323),
    )
    found = detections(*drawn()).errors()
    assert found == {
        kind: (count, pytest.approx(percent / 100, abs=1e-12))
        for kind, (count, percent) in tidecv.items()
    }


def drawn() -> tuple[list, list, int]:
    """30 images of objects, with detections of them that are moved, confused and repeated."""
    rng = np.random.default_rng(8)
    objects, rows = [], []
    for image in range(1, 31):
        for _ in range(rng.integers(1, 6)):
            x, y, w, h = *rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)
            label = int(rng.integers(2))
            objects.append([image, [x, y, w, h], label])
            for _ in range(rng.integers(3)):
                moved = [x + rng.normal(0, 5), y + rng.normal(0, 5), w, h]
                confused = label ^ int(rng.random() < 0.2)
                rows.append([image, moved, confused, rng.random()])
        rows.append([image, [*rng.uniform(0, 60, 2), 20.0, 20.0], 0, rng.random()])
    return objects, rows, 30


def test_precision_at_each_recall():
    """Found: all of the first class, after a wrong one of higher score; half of the second's."""
    objects = [[1, BOX, 0], [1, BOX, 1], [1, FAR, 1]]
    rows = [[1, FAR, 0, 0.9], [1, BOX, 0, 0.8], [1, BOX, 1, 0.7]]
    curves = detections(objects, rows).precision_recall()
    assert list(curves) == [MEAN, 'cat', 'dog']
    for iou in ('0.50', '0.75', '0.50:0.95'):
        assert curves['cat'][iou] == pytest.approx([0.5] * 101)
        assert curves['dog'][iou] == pytest.approx([1.0] * 51 + [0.0] * 50)
        assert curves[MEAN][iou] == pytest.approx([0.75] * 51 + [0.25] * 50)


def test_a_curve_is_of_its_iou():
    """17 of 20 columns overlap: an IoU of 17 / 23, which six of the ten thresholds allow."""
    curves = detections([[1, BOX, 0]], [[1, [13.0, 10.0, 20.0, 20.0], 0, 0.9]]).precision_recall()
    assert list(curves) == [MEAN, 'cat']  # no dog is to be found
    means = {iou: np.mean(curve) for iou, curve in curves[MEAN].items()}
    assert means == pytest.approx({'0.50': 1, '0.75': 0, '0.50:0.95': 0.5})


def test_without_objects_there_is_no_curve():
    assert detections([], [[1, BOX, 0, 0.9]]).precision_recall() == {}


def test_crowds_are_neither_errors_nor_missed():
    found = detections([[1, BOX, 0], [1, FAR, 0, 1]], [[1, BOX, 0, 0.9], [1, FAR, 0, 0.8]])
    assert {count for count, _ in found.errors().values()} == {0}
    assert [row['f1'] for _, row in found.ranking(0.5)] == [1.0]


def test_a_detection_near_a_crowd_is_background():
    """A quarter of it lies in the crowd. Bolya et al.: crowds are no objects; so does tidecv."""
    near = [25.0, 10.0, 20.0, 20.0]
    found = detections([[1, FAR, 0], [1, BOX, 0, 1]], [[1, near, 0, 0.9], [1, FAR, 0, 0.8]])
    errors = {name: count for name, (count, _) in found.errors().items() if count}
    assert errors == {'background': 1}
    # inside of it, a detection is no error
    inside = detections([[1, FAR, 0], [1, BOX, 0, 1]], [[1, BOX, 0, 0.9], [1, FAR, 0, 0.8]])
    assert not any(count for count, _ in inside.errors().values())


@pytest.mark.parametrize(
    ('evaluators', 'limit'),
    [
        (dict(type='CocoMetric', proposal_nums=(100, 1, 10)), 100),
        (dict(type='FullCocoMetric', proposal_nums=(1, 10, 300)), 300),
        ([dict(type='FullCocoMetric', proposal_nums=(1, 10, 300)), dict(type='VOCMetric')], 300),
        (dict(type='CocoKeypointMetric', proposal_nums=None), 100),
        ({}, 100),
    ],
)
def test_the_limit_of_detections_is_that_of_the_metric_for_boxes(evaluators, limit):
    assert box_limit(Config(dict(val_evaluator=evaluators)), 'val') == limit


def test_images_from_the_best_to_the_worst():
    objects = [[1, BOX, 0], [2, BOX, 0], [2, FAR, 1], [3, BOX, 0], [5, BOX, 1], [5, FAR, 1]]
    rows = [
        [1, BOX, 0, 0.9],  # one of one
        [2, BOX, 0, 0.9],  # two of two
        [2, FAR, 1, 0.6],
        [3, BOX, 0, 0.9],  # one of one, and a wrong one
        [3, FAR, 0, 0.7],
        [5, BOX, 1, 0.4],  # the score is too low
    ]
    ranking = detections(objects, rows, images=5).ranking(0.5)
    assert [(index, row['f1']) for index, row in ranking] == [
        (1, 1.0),
        (0, 1.0),
        (2, pytest.approx(2 / 3)),
        (4, 0.0),
    ]


class Perfect:
    """In place of a model: it finds the truth of its data set, and nothing else."""

    def __init__(self, **kwargs) -> None:
        self.model = self

    def val_step(self, batch: dict) -> list:
        for sample in batch['data_samples']:
            truth = sample.gt_instances
            boxes = truth.bboxes.tensor / truth.bboxes.tensor.new_tensor(sample.scale_factor * 2)
            found = InstanceData(bboxes=boxes, labels=truth.labels)
            found.scores = torch.linspace(1, 0.6, len(boxes))
            sample.pred_instances = found
        return batch['data_samples']


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A function from a data folder to a checkpoint that has its config."""
    monkeypatch.setattr('mmscratch.evaluation.detections.Inferencer', Perfect)

    def save(data: Path) -> Path:
        cfg = Config.fromfile(ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
        use_folder(cfg, data)
        cfg.val_dataloader.num_workers = 0
        file = tmp_path / 'run' / 'iter_4.pth'
        file.parent.mkdir()
        torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict={}), file)
        return file

    return save


def test_a_checkpoints_detections_and_truth_in_pixels_of_the_images(checkpoint, tmp_path):
    generate(tmp_path / 'data', ShapesConfig(size=96), dict(train=1, val=3), progress=False)
    found = cached(checkpoint(tmp_path / 'data'), tmp_path / 'run')
    content = json.loads((tmp_path / 'data/annotations/instances_val.json').read_text())
    boxes = [[round(number, 2) for number in row['bbox']] for row in content['annotations']]
    assert [each['bbox'] for each in found.truth['annotations']] == boxes
    assert [Path(file).name for file in found.files] == [
        row['file_name'] for row in content['images']
    ]
    assert len(found.rows) == len(boxes)
    assert {row['f1'] for _, row in found.ranking(0.5)} == {1.0}
    assert np.mean(found.precision_recall()[MEAN]['0.50:0.95']) == pytest.approx(1)
    [store] = (tmp_path / 'run').glob('detections_*.json')
    store.write_text(store.read_text()[:50])
    assert cached(tmp_path / 'run/iter_4.pth', tmp_path / 'run') == found
    # what is whole is read from the folder
    (tmp_path / 'data/annotations/instances_val.json').unlink()
    assert cached(tmp_path / 'run/iter_4.pth', tmp_path / 'run') == found


def test_without_its_data_a_checkpoint_detects_nothing(checkpoint, tmp_path):
    generate(tmp_path / 'data', ShapesConfig(size=96), dict(train=1, val=1), progress=False)
    file = checkpoint(tmp_path / 'data')
    shutil.rmtree(tmp_path / 'data/val')
    with pytest.raises(InputError, match=r'iter_4\.pth: its validation data are not there .*val'):
        cached(file, tmp_path / 'run')
    shutil.rmtree(tmp_path / 'data')
    with pytest.raises(InputError, match=r'iter_4\.pth: its validation data are not there .*data'):
        cached(file, tmp_path / 'run')


def test_difficult_objects_of_voc_do_not_count(checkpoint, tmp_path):
    root = tmp_path / 'voc'
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for name in ('train', 'val'):
        (root / f'ImageSets/Main/{name}.txt').write_text(name)
        Image.new('RGB', (64, 48)).save(root / f'JPEGImages/{name}.png')
        objects = ''.join(
            f'<object><name>disc</name><difficult>{difficult}</difficult><bndbox><xmin>{x}</xmin>'
            f'<ymin>11</ymin><xmax>{x + 19}</xmax><ymax>30</ymax></bndbox></object>'
            for x, difficult in ((1, 0), (31, 1))
        )
        size = '<size><width>64</width><height>48</height><depth>3</depth></size>'
        (root / f'Annotations/{name}.xml').write_text(f'<annotation>{size}{objects}</annotation>')
    found = cached(checkpoint(root), tmp_path / 'run')
    assert [each['iscrowd'] for each in found.truth['annotations']] == [0, 1]
    ((_, row),) = found.ranking(0.5)
    assert (row['tp'], row['fp'], row['fn']) == (1, 0, 0)

import json
from pathlib import Path

import cv2
import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmscratch.config.scalars import read_scalars
from mmscratch.visualization import draw_curves


def write(work_dir: Path, timestamp: str, records: list[dict]) -> None:
    folder = work_dir / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(json.dumps(record) for record in records))


def train(step: int, loss: float) -> dict:
    return {'step': step, 'loss': loss, 'loss_cls': loss / 2, 'lr': 0.02}


def test_a_resumed_part_replaces_what_it_repeats(tmp_path):
    first = [train(10, 3.0), train(20, 2.0), {'step': 20, 'coco/bbox_mAP': 0.1}, train(30, 9.0)]
    write(tmp_path, '20260101_000000', first)
    write(tmp_path, '20260102_000000', [train(30, 1.5), train(40, 1.0)])
    records = read_scalars(tmp_path)
    assert [record['step'] for record in records] == [10, 20, 20, 30, 40]
    assert [record['loss'] for record in records if 'loss' in record] == [3.0, 2.0, 1.5, 1.0]


def test_a_part_that_never_trained_replaces_nothing(tmp_path):
    write(tmp_path, '20260101_000000', [train(10, 3.0)])
    write(tmp_path, '20260102_000000', [])
    assert [record['step'] for record in read_scalars(tmp_path)] == [10]


def test_the_picture_shows_what_was_recorded(tmp_path):
    """The box-AP curve is blue; without AP there is no blue but the loss curve's."""
    write(tmp_path / 'a', 't', [train(10, 3.0), train(20, 1.0)])
    with_ap = [
        train(10, 3.0),
        {'step': 10, 'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.2},
        train(20, 1.0),
        {'step': 20, 'coco/bbox_mAP': 0.8, 'coco/segm_mAP': 0.7},
    ]
    write(tmp_path / 'b', 't', with_ap)
    coloured = []
    for run in ('a', 'b'):
        draw_curves(tmp_path / run, tmp_path / f'{run}.png')
        picture = cv2.imread(str(tmp_path / f'{run}.png')).astype(int)
        assert min(picture.shape[:2]) > 400
        panel = picture[picture.shape[0] * 6 // 10 :]
        coloured.append(int((panel.max(axis=2) - panel.min(axis=2) > 60).sum()))
    assert coloured[0] == 0
    assert coloured[1] > 300


def test_keypoint_ap_is_green(tmp_path):
    records = [
        train(10, 3.0),
        {'step': 10, 'coco/bbox_mAP': 0.1, 'coco/keypoints_mAP': 0.2},
        {'step': 20, 'coco/bbox_mAP': 0.8, 'coco/keypoints_mAP': 0.7},
    ]
    write(tmp_path, 't', records)
    draw_curves(tmp_path, tmp_path / 'curves.png')
    picture = cv2.imread(str(tmp_path / 'curves.png')).astype(int)
    panel = picture[picture.shape[0] * 6 // 10 :]
    blue, green, red = (panel[..., channel] for channel in range(3))
    assert ((green > red + 60) & (green > blue + 60)).sum() > 100


def test_a_loss_is_drawn_over_the_steps_that_have_it(tmp_path, monkeypatch):
    """As the losses of a cascade's later stages, which begin when the cascade does."""
    first, second = train(10, 3.0), train(20, 2.0) | {'s1.loss_cls': 0.7}
    third = {'step': 30, 'loss': 1.0, 's1.loss_cls': 0.5, 'lr': 0.02}
    write(tmp_path, 't', [first, second, third])
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: figures.append(figure))
    draw_curves(tmp_path, tmp_path / 'curves.png')
    lines = {line.get_label(): line.get_xydata().tolist() for line in figures[0].axes[0].lines}
    assert lines == {
        'loss': [[10, 3.0], [20, 2.0], [30, 1.0]],
        'loss_cls': [[10, 1.5], [20, 1.0]],
        's1.loss_cls': [[20, 0.7], [30, 0.5]],
    }


def test_the_learning_rate_drops_at_once_and_warms_up_gradually(tmp_path, monkeypatch):
    rates = {10: 0.01, 20: 0.02, 30: 0.02, 40: 0.002}
    write(tmp_path, 't', [train(step, 1.0) | {'lr': rate} for step, rate in rates.items()])
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: figures.append(figure))
    draw_curves(tmp_path, tmp_path / 'curves.png')
    (line,) = figures[0].axes[1].lines
    expected = [[10, 0.01], [20, 0.02], [30, 0.02], [40, 0.02], [40, 0.002]]
    assert line.get_xydata().tolist() == expected


def test_no_legend_covers_a_curve(tmp_path, monkeypatch):
    records = [train(10, 3.0), {'step': 10, 'coco/bbox_mAP': 0.9}, train(20, 2.9)]
    write(tmp_path, 't', records)
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: figures.append(figure))
    draw_curves(tmp_path, tmp_path / 'curves.png')
    figures[0].canvas.draw()
    for axes in (figures[0].axes[0], figures[0].axes[2]):
        legend = axes.get_legend().get_window_extent()
        assert not any(legend.overlaps(other.get_window_extent()) for other in figures[0].axes)


def test_nothing_recorded_is_drawn_empty(tmp_path):
    draw_curves(tmp_path, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').exists()


def test_the_committed_figure_is_drawn_from_the_committed_numbers(tmp_path):
    demo = Path(__file__).resolve().parents[2] / 'results/demo'
    with Image.open(demo / 'curves.png') as image:
        software = image.info['Software']
    if f'version{matplotlib.__version__},' not in software:
        pytest.skip(f'another matplotlib lays out differently; the figure is by {software}')
    draw_curves(demo, tmp_path / 'curves.png')
    drawn, committed = (
        cv2.imread(str(file)).astype(int) for file in (tmp_path / 'curves.png', demo / 'curves.png')
    )
    assert abs(drawn - committed).mean() < 0.1


def test_the_validation_loss_is_dashed_in_the_panel_of_losses(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: figures.append(figure))
    validated = {'step': 20, 'coco/bbox_mAP': 0.1, 'val_loss': 2.5, 'val_loss_cls': 1.0}
    write(tmp_path, 't', [train(10, 3.0), train(20, 2.0), validated])
    draw_curves(tmp_path, tmp_path / 'c.png')
    axes = figures[0].axes[0]
    assert axes.get_ylabel() == 'loss'
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ['loss', 'loss_cls', 'loss, validation images']
    line = lines['loss, validation images']
    assert (*line.get_xdata(), *line.get_ydata()) == (20, 2.5)
    assert line.get_linestyle() == '--'


def test_the_spread_of_a_pretraining_has_the_place_of_ap(tmp_path, monkeypatch):
    records = [{**train(step, 3.0), 'image_spread': 0.1 * step} for step in (1, 2)]
    write(tmp_path, 't', records)
    saved = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: saved.append(figure))
    draw_curves(tmp_path, tmp_path / 'curves.png')
    axes = saved[0].axes[-1]
    assert axes.get_ylabel() == 'spread of embeddings, 0: collapse'
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.1, 0.2]]


def test_the_gap_between_training_and_validation(tmp_path, monkeypatch):
    records = [
        train(10, 3.0),
        {'step': 10, 'coco/bbox_mAP': 0.1},  # before the hook was added
        {'step': 20, 'coco/bbox_mAP': 0.3, 'train_bbox_mAP': 0.4},
        {'step': 30, 'coco/bbox_mAP': 0.2, 'train_bbox_mAP': 0.9},
    ]
    write(tmp_path, 't', records)
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *args, **kwargs: figures.append(figure))
    draw_curves(tmp_path, tmp_path / 'curves.png', 'overfitting since iteration 20')
    axes = figures[0].axes[2]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines['box AP, training images'].get_xydata().tolist() == [[20, 0.4], [30, 0.9]]
    (gap,) = axes.collections
    corners = gap.get_paths()[0].vertices.tolist()
    assert all(corner in corners for corner in ([20, 0.3], [20, 0.4], [30, 0.2], [30, 0.9]))
    assert figures[0].get_suptitle() == 'overfitting since iteration 20'

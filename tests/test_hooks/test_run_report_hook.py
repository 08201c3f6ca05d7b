import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from torch import nn

import mmscratch
from mmscratch.evaluation.coco_keypoint_metric import KEYPOINT_NUMBERS
from mmscratch.evaluation.full_coco_metric import coco_numbers
from mmscratch.hooks.preflight_hook import PreflightHook
from mmscratch.hooks.run_report_hook import RunReportHook, _git_commit, metrics_table
from mmscratch.weights import checkpoint  # lets mmengine load what it has saved


def metrics(ap: float) -> dict[str, float]:
    return {f'coco/bbox_{name}': ap for name in coco_numbers()} | {'coco/bbox_AP/disc': ap}


def fake_runner(work_dir, iteration: int, resume: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        work_dir=str(work_dir),
        iter=iteration,
        seed=3,
        model=torch.nn.Linear(2, 3),
        hooks=[],
        cfg=SimpleNamespace(filename='a.py'),
        world_size=1,
        train_dataloader=SimpleNamespace(batch_sampler=SimpleNamespace(batch_size=4)),
        val_loop=None,
        train_loop=SimpleNamespace(accumulation=2),
        _resume=resume,
    )


def test_best_and_last_are_kept_apart_and_history_grows(tmp_path):
    hook = RunReportHook()
    hook.before_train(fake_runner(tmp_path, 0))
    for iteration, ap in ((10, 0.2), (20, 0.5), (30, 0.4)):
        runner = fake_runner(tmp_path, iteration)
        hook.before_val_epoch(runner)
        hook.after_val_epoch(runner, metrics(ap))
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert report['best']['iteration'] == 20
    assert report['last']['iteration'] == 30
    assert report['last']['bbox_AP/disc'] == 0.4
    assert [entry['bbox_mAP'] for entry in report['history']] == [0.2, 0.5, 0.4]
    assert report['images_seen'] == 240
    assert report['parameters'] == 9
    assert report['seed'] == 3


def test_a_resumed_run_goes_on_with_clock_and_history(tmp_path):
    hook = RunReportHook()
    hook.before_train(fake_runner(tmp_path, 0))
    hook._seconds = 100.0
    for iteration in (10, 20):
        runner = fake_runner(tmp_path, iteration)
        hook.before_val_epoch(runner)
        hook.after_val_epoch(runner, metrics(0.1))
    saved = {'meta': {}}
    hook.before_save_checkpoint(runner, saved)
    assert saved['meta']['train_seconds'] >= 100

    resumed = RunReportHook()
    runner = fake_runner(tmp_path, 10, resume=True)
    resumed.after_load_checkpoint(runner, saved)
    resumed.before_train(runner)
    runner.iter = 20
    resumed.before_val_epoch(runner)
    resumed.after_val_epoch(runner, metrics(0.05))
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert [entry['bbox_mAP'] for entry in report['history']] == [0.1, 0.05]
    assert report['train_seconds'] >= 100
    assert report['best']['bbox_AP/disc'] == 0.1, 'which the history does not have'


class Stopped(BaseMetric):
    """Fails as a validation that is stopped does, until told otherwise."""

    stops = True

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        if self.stops:
            raise KeyboardInterrupt
        return metrics(0.5)


def test_a_validation_that_was_stopped_is_made_up_for(make_runner, tmp_path, monkeypatch):
    def train(resume):
        evaluator = Evaluator(Stopped())
        make_runner(RunReportHook(), val_evaluator=evaluator, resume=resume).train()

    monkeypatch.setattr(RunReportHook, '_circumstances', lambda self, runner: {})
    report = tmp_path / 'run/metrics.json'
    with pytest.raises(KeyboardInterrupt):
        train(resume=False)
    assert not report.exists()
    monkeypatch.setattr(Stopped, 'stops', False)
    train(resume=True)
    assert [e['iteration'] for e in json.loads(report.read_text())['history']] == [2]
    # and again if it was cut, which stops no run
    report.write_text(report.read_text()[:50])
    train(resume=True)
    assert [e['iteration'] for e in json.loads(report.read_text())['history']] == [2]
    # and is not repeated once it is there
    monkeypatch.setattr(Stopped, 'stops', True)
    train(resume=True)


class Padding(nn.Module):
    """A preprocessor: the images of a batch in one tensor, 8 x 10 pixels in training."""

    def forward(self, data, training=False):
        sides = (8, 10) if training else (100, 100)
        return dict(inputs=torch.zeros(len(data['img_id']), 3, *sides))


def padding(model):
    model.data_preprocessor = Padding()


def test_pixels_of_training_are_counted_over_resumptions(make_runner, tmp_path, monkeypatch):
    monkeypatch.setattr(RunReportHook, '_circumstances', lambda self, runner: {})
    report = tmp_path / 'run/metrics.json'

    def train(**kwargs):
        hooks = RunReportHook(), PreflightHook()
        evaluator = Evaluator(Stopped())
        make_runner(*hooks, change=padding, val_evaluator=evaluator, **kwargs).train()
        return json.loads(report.read_text())

    monkeypatch.setattr(Stopped, 'stops', False)
    # two steps of two images
    straight = train()
    assert (straight['images_seen'], straight['pixels_seen']) == (4, 2 * 2 * 80)
    assert straight['pixels_seen_total'] == 2 * 2 * 80
    assert straight['initialization']['arm'] == 'scratch'
    metas = [checkpoint.load(tmp_path / f'run/iter_{n}.pth')['meta'] for n in (1, 2)]
    assert [(m['images_seen'], m['pixels_seen']) for m in metas] == [(2, 160), (4, 320)]
    report.unlink()
    resumed = train(load_from=str(tmp_path / 'run/iter_1.pth'), resume=True)
    assert (resumed['images_seen'], resumed['pixels_seen']) == (4, 320)


def test_pixels_of_what_is_no_batch_are_unknown(make_runner, tmp_path, monkeypatch):
    monkeypatch.setattr(RunReportHook, '_circumstances', lambda self, runner: {})
    monkeypatch.setattr(Stopped, 'stops', False)
    make_runner(RunReportHook(), PreflightHook(), val_evaluator=Evaluator(Stopped())).train()
    report = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert (report['images_seen'], report['pixels_seen'], report['pixels_seen_total']) == (
        4,
        None,
        None,
    )


def test_pixels_of_earlier_trainings_are_added(make_runner, tmp_path, monkeypatch):
    monkeypatch.setattr(RunReportHook, '_circumstances', lambda self, runner: {})
    monkeypatch.setattr(Stopped, 'stops', False)
    seen = {}
    for name, meta in (('known', dict(images_seen=7, pixels_seen=1000)), ('unknown', {})):
        began = dict(
            init='random',
            allowed=[],
            annotations=[],
            initialization=dict(
                arm='scratch', frozen=False, weights=None, teacher=None, pixels_before=24
            ),
        )
        content = dict(meta=dict(meta, preflight=began), state_dict={})
        torch.save(content, tmp_path / f'{name}.pth')
        runner = make_runner(
            RunReportHook(),
            PreflightHook(init='pretrained'),
            val_evaluator=Evaluator(Stopped()),
            load_from=str(tmp_path / f'{name}.pth'),
            change=padding,
        )
        runner.train()
        seen[name] = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert [seen[name]['pixels_seen'] for name in seen] == [320, 320]
    assert [seen[name]['pixels_seen_total'] for name in seen] == [320 + 1024, None]
    assert seen['known']['initialization']['weights']['images_seen'] == 7


def test_the_commit_is_marked_where_the_code_differs_from_it(tmp_path, monkeypatch):
    package = tmp_path / 'mmscratch'
    for folder in ('mmscratch', 'configs', 'tools', 'results'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'file.py').write_text('')
    monkeypatch.setattr(mmscratch, '__file__', str(package / '__init__.py'))
    assert _git_commit() is None
    git = ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=b']
    for command in (['init', '-q'], ['add', '.'], ['commit', '-q', '-m', 'c']):
        subprocess.run([*git, *command], check=True)
    clean = _git_commit()
    assert len(clean) == 40
    # a run's own result is no change of the code
    (tmp_path / 'results/file.py').write_text('1')
    assert _git_commit() == clean
    (tmp_path / 'configs/file.py').write_text('1')
    assert _git_commit() == clean + '+'


def test_weights_loaded_for_another_purpose_bring_no_clock(tmp_path):
    hook = RunReportHook()
    hook.after_load_checkpoint(fake_runner(tmp_path, 0), {'meta': {'train_seconds': 50.0}})
    assert hook._train_seconds() == 0


def test_table_is_in_percent_and_leaves_out_what_does_not_exist():
    numbers = {f'bbox_{name}': 0.4567 for name in coco_numbers()} | {'bbox_mAP_l': -1.0}
    lines = metrics_table(numbers).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ['box'] + ['45.7'] * 5 + ['-'] + ['45.7'] * 6


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_table_has_a_row_for_each_kind(metric):
    numbers = {f'{metric}_{name}': 0.5 for name in coco_numbers()}
    assert (
        metrics_table(numbers).splitlines()[1].startswith({'bbox': 'box', 'segm': 'mask'}[metric])
    )


def test_table_names_as_many_detections_as_count():
    names = coco_numbers((1, 10, 1000))
    header, row = metrics_table({f'bbox_{name}': 0.5 for name in names}).splitlines()
    assert header.split() == [name.replace('mAP', 'AP') for name in names]
    assert len(header) == len(row)


def test_vocs_number_is_reported_and_the_best_one_kept(tmp_path):
    hook = RunReportHook()
    hook.before_train(fake_runner(tmp_path, 0))
    for iteration, ap in ((10, 0.6), (20, 0.5)):
        runner = fake_runner(tmp_path, iteration)
        hook.before_val_epoch(runner)
        hook.after_val_epoch(runner, {'pascal_voc/mAP': ap, 'pascal_voc/AP50': ap})
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert report['best']['iteration'] == 10
    assert report['last']['voc_mAP'] == 0.5
    assert [entry['voc_mAP'] for entry in report['history']] == [0.6, 0.5]
    assert metrics_table(report['best']) == 'VOC mAP 60.0'


def test_keypoints_have_a_table_of_their_own_below():
    numbers = {f'bbox_{name}': 0.5 for name in coco_numbers()}
    numbers |= {f'keypoints_{name}': k / 100 for k, name in enumerate(KEYPOINT_NUMBERS)}
    lines = metrics_table(numbers).splitlines()
    assert len(lines) == 4
    assert lines[2].split() == [name.replace('mAP', 'AP') for name in KEYPOINT_NUMBERS]
    assert lines[3].split() == ['keypoint', *(f'{k}.0' for k in range(10))]


def test_keypoint_ap_decides_which_validation_is_best(tmp_path):
    hook = RunReportHook()
    hook.before_train(fake_runner(tmp_path, 0))
    for iteration, box, keypoint in ((10, 0.5, 0.1), (20, 0.4, 0.3), (30, 0.6, 0.2)):
        runner = fake_runner(tmp_path, iteration)
        hook.before_val_epoch(runner)
        hook.after_val_epoch(runner, metrics(box) | {'coco/keypoints_mAP': keypoint})
    assert json.loads((tmp_path / 'metrics.json').read_text())['best']['iteration'] == 20

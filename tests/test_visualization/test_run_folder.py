"""What a run's folder tells; the numbers are written here as RunReportHook writes them."""

import json
from pathlib import Path

import pytest
import torch

from mmscratch.config.scalars import read_scalars
from mmscratch.errors import InputError
from mmscratch.visualization import run_folder
from mmscratch.visualization.run_folder import read


def write(folder: Path, ap: dict[int, float], config: str = '', **metrics) -> Path:
    """A run that was validated at these iterations; its loss is 1 / iteration."""
    history = [
        dict(iteration=i, train_seconds=36.0 * i, **{'bbox_mAP': value, 'bbox_AP/cat': value})
        for i, value in ap.items()
    ]
    content = dict(last=history[-1], best=history[-1], history=history, iterations=max(ap))
    content |= dict(images_seen=8 * max(ap), train_seconds=36.0 * max(ap)) | metrics
    (folder / 't/vis_data').mkdir(parents=True)
    (folder / 'metrics.json').write_text(json.dumps(content))
    records = [json.dumps(dict(step=i, loss=1 / i, lr=0.1)) for i in ap]
    (folder / 't/vis_data/scalars.json').write_text('\n'.join(records))
    (folder / 'config.py').write_text(f"work_dir = '{folder}'\n{config}")
    return folder


def save(folder: Path, name: str, **proof) -> None:
    torch.save(dict(meta=dict(preflight=proof), state_dict={}), folder / name)


PROOF = dict(init='random', allowed=[], annotations=[], initial_weights_sha256='abc')


def test_all_that_is_there(tmp_path):
    write(tmp_path, {10: 0.1, 20: 0.3}, initialization=dict(arm='scratch'))
    save(tmp_path, 'iter_20.pth', **PROOF)
    run = read(tmp_path, detections=False)
    assert [each['bbox_mAP'] for each in run.history] == [0.1, 0.3]
    assert [each['loss'] for each in run.records] == [0.1, 0.05]
    assert run.config.work_dir == str(tmp_path)
    assert run.arm == 'scratch'
    assert run.checkpoint.name == 'iter_20.pth'
    assert run.proof['initial_weights_sha256'] == 'abc'
    assert run.missing == []


def test_the_last_checkpoint_or_the_best(tmp_path):
    write(tmp_path, {10: 0.1})
    for name in ('iter_5.pth', 'iter_10.pth', 'best_coco_bbox_mAP_iter_5.pth'):
        save(tmp_path, name, **PROOF)
    assert read(tmp_path, detections=False).checkpoint.name == 'iter_10.pth'
    assert read(tmp_path, best=True, detections=False).checkpoint.name.startswith('best_')
    (tmp_path / 'last_checkpoint').write_text('/moved/away/iter_5.pth')
    assert read(tmp_path, detections=False).checkpoint.name == 'iter_5.pth'


def test_a_run_that_goes_on_from_another_has_its_beginning(tmp_path):
    write(tmp_path / 'trunk', {10: 0.1, 20: 0.2, 30: 0.3})
    branch = "load_from = 'moved/trunk/iter_20.pth'\nresume = True"
    run = read(write(tmp_path / 'branch', {25: 0.5}, branch))
    assert [each['iteration'] for each in run.history] == [10, 20, 25]
    assert [each['step'] for each in run.records] == [10, 20, 25]
    # a run that went on from that one, and was resumed itself
    third = write(
        tmp_path / 'third', {30: 0.6}, f"load_from = '{tmp_path}/third/iter_30.pth'\nresume = True"
    )
    (third / 't/vis_data/config.py').write_text(branch.replace('trunk/iter_20', 'branch/iter_25'))
    run = read(third)
    assert [each['iteration'] for each in run.history] == [10, 20, 25, 30]
    assert [each['step'] for each in run.records] == [10, 20, 25, 30]
    (third / 't/vis_data/config.py').write_text(branch.replace('trunk', 'gone'))
    assert 'it went on from moved/gone/iter_20.pth, which is not there' in read(third).missing[0]
    # weights alone are no beginning
    other = read(write(tmp_path / 'other', {25: 0.5}, branch.replace('True', 'False')))
    assert [each['iteration'] for each in other.history] == [25]


def test_validations_of_a_way_that_was_left_are_dropped(tmp_path):
    """The run went back to iteration 10, and has not validated since."""
    back = f"load_from = '{tmp_path}/run/iter_10.pth'\nresume = True"
    folder = write(tmp_path / 'run', {10: 0.1, 20: 0.2, 40: 0.9}, back)
    (folder / 'u/vis_data').mkdir(parents=True)
    scalars = folder / 'u/vis_data/scalars.json'
    scalars.write_text('{"step": 12, "loss": 0.5}')
    run = read(folder)
    assert [each['iteration'] for each in run.history] == [10]
    assert run.metrics['last']['bbox_mAP'] == 0.1
    assert [each['step'] for each in run.records] == [10, 12]
    assert 'no validation since the run went back to iter_10.pth' in run.missing[0]
    scalars.write_text('{"step": 12, "loss": 0.5}\n{"step": 40, "coco/bbox_mAP": 0.9}')
    assert [each['iteration'] for each in read(folder).history] == [10, 40]


def test_records_of_a_way_that_was_left_are_dropped(tmp_path):
    """Resumed at 50, validated at 60 and 80; the first logged step is 100."""
    old = [(50, 'loss'), (60, 'ap'), (80, 'ap'), (100, 'loss')]
    new = [(60, 'ap'), (80, 'ap'), (100, 'loss')]
    for name, lines in (('a', old), ('b', new)):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        rows = [json.dumps({'step': step, key: name}) for step, key in lines]
        (tmp_path / name / 'vis_data/scalars.json').write_text('\n'.join(rows))
    found = [(each['step'], each.get('ap') or each['loss']) for each in read_scalars(tmp_path)]
    assert found == [(50, 'a'), (60, 'b'), (80, 'b'), (100, 'b')]


def test_what_a_run_began_with(tmp_path):
    for began, is_random in (
        (dict(arm='scratch'), True),
        (dict(arm='self-training', weights=None), True),
        (dict(arm='frozen', weights=dict(kind='imagenet')), False),
        ({}, None),
    ):
        folder = write(tmp_path / f'{len(began)}{is_random}', {10: 0.1}, initialization=began)
        assert read(folder).is_random is is_random


def test_the_page_of_others_outlives_a_fault(tmp_path, monkeypatch):
    def out_of_memory(file, folder):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(run_folder, 'cached', out_of_memory)
    save(write(tmp_path / 'run', {10: 0.1}), 'iter_10.pth', **PROOF)
    assert read(tmp_path / 'run').missing[-1].startswith('no detections: CUDA out of memory')


def test_checkpoints_in_another_folder_and_other_weights(tmp_path):
    out = tmp_path / 'big'
    config = f"default_hooks = dict(checkpoint=dict(out_dir='{out}'))"
    folder = write(tmp_path / 'run', {10: 0.1}, config)
    save(folder, 'imagenet_r50.pth', **PROOF)
    assert read(folder, detections=False).checkpoint is None
    (out / 'run').mkdir(parents=True)
    save(out / 'run', 'iter_10.pth', **PROOF)
    assert read(folder, detections=False).checkpoint == out / 'run/iter_10.pth'


def test_what_is_missing_is_named(tmp_path):
    save(tmp_path, 'iter_20.pth')
    (tmp_path / 'config.py').write_text('import os\n')
    missing = read(tmp_path).missing
    assert [line[:16] for line in missing] == [
        'no metrics.json,',
        'no config: ' + str(tmp_path)[:5],
        'no detections: /',
    ]
    write(tmp_path / 'run', {10: 0.1})
    (line,) = read(tmp_path / 'run').missing
    assert line.startswith('no last checkpoint: so no proof')


def test_a_damaged_file_hides_no_other(tmp_path):
    scalars = write(tmp_path, {10: 0.1}) / 't/vis_data/scalars.json'
    scalars.write_text(scalars.read_text() + '\n{"step": 20, "lo')
    run = read(tmp_path)
    assert [each['bbox_mAP'] for each in run.history] == [0.1]
    assert run.records == [json.loads(scalars.read_text().split('\n')[0])]
    (tmp_path / 'metrics.json').write_text('[]')
    scalars.write_text('{"step": 10, "loss": 1}')
    run = read(tmp_path)
    assert (run.metrics, len(run.records)) == ({}, 1)
    assert run.missing[0].startswith('no numbers: metrics.json is damaged')


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match=r'holds no run .*; give the work directory'):
        read(tmp_path)
    file = tmp_path / 'metrics.json'
    file.touch()
    with pytest.raises(InputError, match=r'metrics\.json: no such folder'):
        read(file)

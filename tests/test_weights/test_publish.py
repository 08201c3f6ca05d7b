"""Releases of checkpoints: of a tiny run as a user makes them, and of checkpoints made here."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint
from mmscratch.weights.publish import publish, released_config
from mmscratch.weights.verification import verify

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
TITLE = 'mask_rcnn_r18_gn_600i_shapes'
METAFILE = yaml.safe_load((ROOT / 'configs/scratch/metafile.yml').read_text())
INDEX = {entry['Name']: entry for entry in METAFILE['Models']}
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=1',
    'param_scheduler.0.end=2',
    'param_scheduler.1.milestones=[1]',
    'param_scheduler.1.end=2',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
    # what was averaged is what is validated
    'default_hooks.ema.type=EMAHook',
    'default_hooks.ema.momentum=0.5',
    'train_dataloader.batch_size=2',
    'auto_scale_lr.base_batch_size=2',
    *(f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')),
    *(f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')),
]


# --- a run


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, ShapesConfig(size=96), {'train': 4, 'val': 2}, progress=False)
    return root


@pytest.fixture(scope='module')
def trained(shapes, run_tool, tmp_path_factory) -> Path:
    """The work directory of two iterations."""
    folder = tmp_path_factory.mktemp('runs') / 'run'
    arguments = [CONFIG, '--data', shapes, '--work-dir', folder, '--cfg-options', *SHORT]
    run_tool('train.py', *arguments)
    return folder


@pytest.fixture(scope='module')
def released(trained, run_tool, tmp_path_factory) -> Path:
    """The released weights of that run."""
    out_dir = tmp_path_factory.mktemp('release') / 'zoo'
    printed = run_tool('publish.py', trained / 'iter_2.pth', out_dir, is_forked=False)
    [weights] = out_dir.glob('*.pth')
    suffixes = ('.metrics.json', '.pth', '.py', '.safetensors', '.scalars.json', '.yml')
    # nothing unfinished, and each file told
    assert sorted(out_dir.iterdir()) == [weights.with_suffix(suffix) for suffix in suffixes]
    assert all(str(file) in printed for file in out_dir.iterdir())
    assert printed.endswith(weights.with_suffix('.yml').read_text())
    return weights


def test_the_name_ends_in_the_hash_of_the_file(released):
    digest = hashlib.sha256(released.read_bytes()).hexdigest()
    assert released.name == f'{TITLE}-{digest[:8]}.pth'


def test_torch_alone_loads_it(released):
    code = (
        'import sys, torch; held = torch.load(sys.argv[1], weights_only=True); '
        'assert not {"mmengine", "mmdet", "mmscratch"} & {*sys.modules}; '
        'print(sorted(held), sorted(held["meta"]))'
    )
    printed = subprocess.check_output([sys.executable, '-c', code, released], text=True)
    kept = ['cfg', 'dataset_meta', 'epoch', 'experiment_name', 'images_seen', 'iter']
    kept += ['mmengine_version', 'pixels_seen', 'preflight', 'seed', 'tensors_sha256', 'time']
    assert printed.strip() == f"['meta', 'state_dict'] {kept}"


def test_it_has_the_averaged_weights_and_the_proof(trained, released):
    ours, run = checkpoint.load(released), checkpoint.load(trained / 'iter_2.pth')
    assert list(ours['state_dict']) == list(run['state_dict'])
    for name, value in run['state_dict'].items():
        assert torch.equal(ours['state_dict'][name], value)
    # EMAHook saves the weights that were trained, not averaged, in the place of the average
    name = 'rpn_head.rpn_conv.weight'
    assert not torch.equal(ours['state_dict'][name], run['ema_state_dict'][f'module.{name}'])
    assert ours['meta']['preflight'] == run['meta']['preflight']
    assert ours['meta']['iter'] == 2
    assert released.stat().st_size < 0.5 * (trained / 'iter_2.pth').stat().st_size


def test_the_files_beside_it_are_the_run_s(trained, released):
    report = json.loads((trained / 'metrics.json').read_text())
    assert json.loads(released.with_suffix('.metrics.json').read_text()) == report
    records = map(json.loads, released.with_suffix('.scalars.json').read_text().splitlines())
    assert [record['step'] for record in records if 'loss' in record] == [1, 2]
    [entry] = yaml.safe_load(released.with_suffix('.yml').read_text())['Models']
    # five classes, and the repository's config has three
    assert (entry['Name'], entry['Config']) == (TITLE, released.with_suffix('.py').name)
    assert entry['Metadata'] == {'Training Data': 'shapes', 'Iterations': 2}
    assert entry['Weights'] == released.name
    source = released.with_suffix('.metrics.json').name
    box, mask = (round(100 * report['last'][f'{kind}_mAP'], 1) for kind in ('bbox', 'segm'))
    assert entry['Results'] == [
        dict(Task='Object Detection', Dataset='shapes', Metrics={'box AP': box}, Source=source),
        dict(
            Task='Instance Segmentation', Dataset='shapes', Metrics={'mask AP': mask}, Source=source
        ),
    ]


SUFFIXES = ['.pth', '.safetensors']


def test_both_files_hold_the_same(released):
    weights, others = (checkpoint.load(released.with_suffix(suffix)) for suffix in SUFFIXES)
    assert others['meta'] == weights['meta']
    assert others['state_dict'].keys() == weights['state_dict'].keys()
    for name, value in weights['state_dict'].items():
        assert torch.equal(others['state_dict'][name], value)


def test_it_is_verified(released, tmp_path):
    for suffix in SUFFIXES:
        lines = verify(released.with_suffix(suffix))
        assert [line.partition(':')[0] for line in lines] == [
            *('file', 'tensors', 'weights', 'config', 'proof')
        ]
        assert lines[1].endswith('as the file says')
    renamed = tmp_path / 'a-00000000.pth'
    renamed.write_bytes(released.read_bytes())
    with pytest.raises(InputError, match='its name says 00000000: download it again'):
        verify(renamed)
    content = torch.load(released, weights_only=True)
    content['meta']['cfg'] = '__import__("os").mkdir("ran")'
    torch.save(content, tmp_path / 'program.pth')
    with pytest.raises(InputError, match=r'program\.pth'):
        verify(tmp_path / 'program.pth')


def test_evaluation_verifies_its_numbers(run_tool, released, shapes, tmp_path):
    """Of a copy whose metrics.json tells one that is wrong."""
    copy = tmp_path / released.name
    copy.write_bytes(released.read_bytes())
    report = json.loads(released.with_suffix('.metrics.json').read_text())
    last = report['history'][-1]
    last['segm_mAP'] += 0.01
    copy.with_suffix('.metrics.json').write_text(json.dumps(report))
    error = run_tool('verify.py', copy, '--data', shapes, expect=2, is_forked=False)
    box = f'{last["bbox_mAP"]:.4f}'
    assert f'segm_mAP is another; bbox_mAP: {box}, the release says {box}; ' in error


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_testing_it_gives_the_numbers_of_the_run(run_tool, suffix, trained, released, tmp_path):
    weights = released.with_suffix(suffix)
    run_tool('test.py', released.with_suffix('.py'), weights, '--work-dir', tmp_path)
    tested = json.loads((tmp_path / 'test_metrics.json').read_text())['test']
    last = json.loads((trained / 'metrics.json').read_text())['last']
    assert {'bbox_mAP', 'segm_mAP'} <= tested.keys()
    for key, value in tested.items():
        assert value == pytest.approx(last[key], abs=1e-6)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_inference_with_it(run_tool, suffix, released, shapes, tmp_path):
    inputs = [released.with_suffix(suffix), shapes / 'val', '--out', tmp_path, '--device', 'cpu']
    run_tool('infer.py', *inputs)
    assert len(list((tmp_path / 'vis').iterdir())) == 2
    for file in (tmp_path / 'preds').iterdir():
        assert {'labels', 'names', 'masks'} <= json.loads(file.read_text()).keys()


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_training_begins_with_it(run_tool, suffix, released, tmp_path):
    """With the released config, too, which trains what the run trained."""
    config = released.with_suffix('.py')
    init = released.with_suffix(suffix)
    arguments = [config, '--init', init, '--work-dir', tmp_path / 'run']
    # a learning rate of 0 keeps what was loaded
    log = run_tool('train.py', *arguments, '--cfg-options', 'optim_wrapper.optimizer.lr=0.0')
    weights = checkpoint.load(released)
    assert f'{len(weights["state_dict"])} weights matched, 0 missing' in log
    assert '2 images/step = 1 x 2, lr 0, 2 iterations = 1.0 epochs of 4 images' in log
    ours = checkpoint.load(tmp_path / 'run/iter_2.pth')
    for name, value in weights['state_dict'].items():
        assert torch.equal(ours['state_dict'][name], value)
    assert ours['meta']['preflight']['parent'] == weights['meta']['preflight']


def test_a_run_that_went_on_is_told_in_one_line(run_tool, trained, tmp_path):
    error = run_tool('publish.py', trained / 'iter_1.pth', tmp_path / 'zoo', expect=2)
    assert re.fullmatch(r'error: .*iter_1\.pth: is of iteration 1 of 2; .*\n', error)
    assert not (tmp_path / 'zoo').exists()
    files = publish(trained / 'iter_1.pth', tmp_path / 'zoo', 'drawn', allow_unfinished=True)
    assert {file.name.rpartition('-')[0] for file in files} == {f'{TITLE}_drawn'}


# --- checkpoints made here


def made(folder: Path, text: str = '', **meta) -> Path:
    """A finished checkpoint of two weights."""
    text = text or (
        "model = dict(type='Some')\ntrain_cfg = dict(max_iters=4)\n"
        "train_dataloader = dict(dataset=dict(dataset=dict(data_root='data/some/')))\n"
    )
    meta = dict(cfg=text, iter=4, seed=7, experiment_name='mine_20300101_000000') | meta
    weights = dict(w=torch.arange(3.0), n=torch.tensor(4))
    folder.mkdir(exist_ok=True)
    torch.save(dict(meta=meta, state_dict=weights), folder / 'iter_4.pth')
    return folder / 'iter_4.pth'


def numbers(iteration: int, **values) -> dict:
    return dict(iteration=iteration, **values)


def report(file: Path, **changes) -> None:
    """The metrics.json beside it: two validations, of which the first was better."""
    history = [numbers(2, bbox_mAP=0.5, segm_mAP=-1.0), numbers(4, bbox_mAP=0.25, segm_mAP=-1.0)]
    content = dict(last=history[1], best=history[0], history=history, iterations=4)
    content |= dict(config='configs/scratch/mine.py', seed=7) | changes
    (file.parent / 'metrics.json').write_text(json.dumps(content))


def entry(files: list[Path]) -> dict:
    [index] = (file for file in files if file.suffix == '.yml')
    return yaml.safe_load(index.read_text())['Models'][0]


def refusal(file: Path, out_dir: Path, **arguments) -> str:
    with pytest.raises(InputError) as caught:
        publish(file, out_dir, **arguments)
    assert '\n' not in str(caught.value)
    assert not list(out_dir.glob('.*'))
    return str(caught.value)


@pytest.mark.parametrize('text', ['{"config": ', '{}', '[]'])
def test_a_damaged_metrics_json_is_one_line(tmp_path, text):
    file = made(tmp_path / 'run')
    (file.parent / 'metrics.json').write_text(text)
    assert 'metrics.json: is damaged; restore it' in refusal(file, tmp_path / 'out')


def test_a_checkpoint_without_a_run_s_folder(tmp_path):
    files = publish(made(tmp_path / 'run'), tmp_path / 'out')
    assert [file.suffix for file in files] == ['.py', '.yml', '.safetensors', '.pth']
    [name] = {file.stem for file in files}
    assert re.fullmatch('mine_some-[0-9a-f]{8}', name)
    assert entry(files) == {
        'Name': 'mine_some',
        'Config': f'{name}.py',
        'Metadata': {'Training Data': 'some', 'Iterations': 4},
        'Weights': f'{name}.pth',
    }


def test_again_is_the_same_and_another_is_another(tmp_path):
    files = publish(made(tmp_path / 'run'), tmp_path / 'out')
    assert publish(made(tmp_path / 'run'), tmp_path / 'out') == files
    # what was released can be released elsewhere
    again = publish(files[-1], tmp_path / 'elsewhere')
    assert [file.name for file in again] == [file.name for file in files]
    assert publish(made(tmp_path / 'run', seed=8), tmp_path / 'out') != files
    assert len(list((tmp_path / 'out').iterdir())) == 8


def test_another_file_of_that_name_stays(tmp_path):
    files = publish(made(tmp_path / 'run'), tmp_path / 'out')
    for file in files:
        content = file.read_bytes()
        file.write_bytes(b'mine')
        assert refusal(made(tmp_path / 'run'), tmp_path / 'out').startswith(f'{file}: is there')
        assert file.read_bytes() == b'mine'
        file.write_bytes(content)
    assert str(files[0]) in refusal(made(tmp_path / 'run'), files[0])


def test_an_entry_of_the_index_keeps_its_name(tmp_path):
    """And its keys, so that it can be pasted."""
    text = Config.fromfile(ROOT / CONFIG).pretty_text
    meta = dict(iter=600, experiment_name=f'{TITLE}_20300101_000000')
    meta['preflight'] = dict(init='random', allowed=[], annotations=[])
    ours = entry(publish(made(tmp_path / 'run', text, **meta), tmp_path / 'out'))
    listed = INDEX[f'scratch/{TITLE}']
    assert (ours['Name'], ours['Config']) == (listed['Name'], listed['Config'])
    assert ours['Metadata'].keys() == listed['Metadata'].keys()
    assert ours['Metadata']['Iterations'] == listed['Metadata']['Iterations']
    # without a proof it is not said to be from scratch
    del meta['preflight']
    ours = entry(publish(made(tmp_path / 'run', text, **meta), tmp_path / 'out'))
    assert ours['Name'] == TITLE


def test_dsod_is_from_scratch_in_a_folder_of_its_own(tmp_path):
    name = 'dsod192_small_bn_600i_shapes'
    text = Config.fromfile(ROOT / f'configs/dsod/{name}.py').pretty_text
    meta = dict(iter=600, experiment_name=f'{name}_20300101_000000')
    meta['preflight'] = dict(init='random', allowed=[], annotations=[])
    ours = entry(publish(made(tmp_path / 'run', text, **meta), tmp_path / 'out'))
    assert (ours['Name'], ours['Config']) == (f'dsod/{name}', f'configs/dsod/{name}.py')


def test_the_best_checkpoint_of_a_run_that_ended(tmp_path):
    file = made(tmp_path / 'run', iter=2)
    assert 'is of iteration 2 of 4' in refusal(file, tmp_path / 'out')
    report(file, iterations=2)
    assert 'is of iteration 2 of 4' in refusal(file, tmp_path / 'out')
    report(file)
    [result] = entry(publish(file, tmp_path / 'out'))['Results']
    assert result['Metrics'] == {'box AP': 50.0}
    # neither the last nor the best, and never validated
    file = made(tmp_path / 'run', iter=3)
    assert 'is of iteration 3 of 4' in refusal(file, tmp_path / 'out')
    assert 'Results' not in entry(publish(file, tmp_path / 'out', allow_unfinished=True))


def test_voc_s_two_ways_of_counting(tmp_path):
    for mode, label in (('area', 'VOC AP'), ('11points', 'VOC07 AP')):
        text = (
            'model = dict()\ntrain_cfg = dict(max_iters=4)\n'
            f"val_evaluator = dict(type='VOCMetric', eval_mode='{mode}')\n"
        )
        file = made(tmp_path / 'run', text)
        report(file, history=[numbers(4, voc_mAP=0.7)])
        [result] = entry(publish(file, tmp_path / mode, 'voc0712'))['Results']
        assert result['Metrics'] == {label: 70.0}


def test_the_config_is_released_without_its_run():
    cfg = Config.fromfile(ROOT / CONFIG)
    before = cfg.to_dict()
    cfg.update(work_dir='/home/me/run', launcher='none', resume=True, load_from='iter_1.pth')
    ours = released_config(cfg.pretty_text, 'a.pth')
    assert ours.to_dict() == {**before, 'resume': False, 'load_from': None}
    # nor is anything lost when it is released again
    assert released_config(ours.pretty_text, 'a.pth').to_dict() == ours.to_dict()


def test_numpy_in_the_meta_becomes_plain(tmp_path):
    meta = dict(classes=('a', 'b'), sigmas=np.float32([0.5, 0.25]), counts=[np.int64(3)])
    file = publish(made(tmp_path / 'run', dataset_meta=meta), tmp_path / 'out')[-1]
    assert checkpoint.load(file)['meta']['dataset_meta'] == dict(
        classes=('a', 'b'), sigmas=[0.5, 0.25], counts=[3]
    )
    assert b'numpy' not in file.read_bytes()


def test_a_meta_that_is_no_json(tmp_path):
    file = made(tmp_path / 'run', dataset_meta=dict(classes=('a',), of=torch.ones(2)))
    assert 'its meta cannot be written as JSON' in refusal(file, tmp_path / 'out')


def test_unfit_checkpoints_are_refused(tmp_path):
    bare = tmp_path / 'bare.pth'
    for content, said in (
        ({'w': torch.ones(1)}, 'holds no state_dict'),
        ({'state_dict': {'w': torch.ones(1)}}, r'holds no config \(meta.cfg\)'),
        ({'state_dict': {'w': torch.ones(1)}, 'meta': {'cfg': ''}}, 'holds no config'),
    ):
        torch.save(content, bare)
        assert re.search(rf'bare\.pth: .*{said}', refusal(bare, tmp_path / 'out'))
    for value in ('nan', 'inf', '-inf'):
        weights = {'v': torch.ones(1), 'w': torch.tensor([0, float(value)], dtype=torch.half)}
        torch.save({'meta': {'cfg': 'a = 1'}, 'state_dict': weights}, bare)
        assert '1 of 2 weights hold NaN or Inf, the first is w;' in refusal(bare, tmp_path / 'out')
    torch.save({'meta': {'cfg': 'a = 1'}, 'state_dict': {'w': torch.ones(1)}}, bare)
    assert 'is of iteration None of None' in refusal(bare, tmp_path / 'out', name='some')
    assert "'' is no name for a file" in refusal(bare, tmp_path / 'out')
    assert "'a/b' is no name for a file" in refusal(bare, tmp_path / 'out', name='a/b')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('change', [dict(seed=8), dict(config='configs/scratch/other.py')])
def test_numbers_of_another_run_are_refused(change, tmp_path):
    file = made(tmp_path / 'run')
    report(file, **change)
    assert refusal(file, tmp_path / 'out').startswith(f'{file.parent / "metrics.json"}: is of')


def test_nothing_is_left_of_an_interrupted_release(tmp_path, monkeypatch):
    file, save = made(tmp_path / 'run'), torch.save

    def save_half(content, target):
        save(content, target)
        Path(target).write_bytes(Path(target).read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', save_half)
    with pytest.raises(KeyboardInterrupt):
        publish(file, tmp_path / 'out')
    assert not list((tmp_path / 'out').iterdir())

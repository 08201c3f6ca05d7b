"""The study: schedules that branch off, runs that are known again, verdicts, the page."""

import copy
import dataclasses
import functools
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmscratch.data.shapes.drawing import generate
from mmscratch.errors import InputError
from mmscratch.study import page, seed_statistics
from mmscratch.study.executor import Executor
from mmscratch.study.launchers import LocalLauncher
from mmscratch.study.miniature import CLAIMS, STUDY, figures, judges, plan
from mmscratch.study.miniature.data import CLASSIFICATION, DATA, DETECTION, LARGE, of_config
from mmscratch.study.run import Run, in_order, meaning
from mmscratch.study.schedule import Schedule
from mmscratch.study.verdict import FAILS, HOLDS, OPEN
from mmscratch.weights import checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data')
    for name, (config, _) in DATA.items():
        generate(root / name, config, {'train': 8, 'val': 2}, progress=False)
    return root


def on(run: Run, data: Path, **options) -> Run:
    """The run on a few images, two at a time."""
    root = f'{data / run.data.name}/'
    small = {f'{split}_dataloader.num_workers': 0 for split in ('train', 'val')}
    small |= {f'{split}_dataloader.persistent_workers': False for split in ('train', 'val')}
    small |= {f'{split}_dataloader.dataset.data_root': root for split in ('train', 'val', 'test')}
    if run.data.name != 'classification':
        small['val_evaluator.ann_file'] = f'{root}annotations/instances_val.json'
        small['test_evaluator.ann_file'] = small['val_evaluator.ann_file']
    small |= {'train_dataloader.batch_size': 2, 'auto_scale_lr.base_batch_size': 2}
    small |= {'param_scheduler.0.end': 2, 'default_hooks.logger.interval': 1}
    merged = {**dict(run.options), **small, **options}
    return dataclasses.replace(run, options=tuple(merged.items()))


@pytest.fixture(scope='module')
def study(data, forked_runs, tmp_path_factory):
    """1x is two iterations: pre-training, the constant rate, 2x as a branch, and 2x in one go."""
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)
    patch.setenv('OMP_NUM_THREADS', '1')
    for name, value in (('SCHEDULE', Schedule(2, 2, 1)), ('LENGTHS', (2, 3)), ('SHORTEST', 2)):
        patch.setattr(plan, name, value)
    short = {'param_scheduler.1.milestones': [1], 'param_scheduler.1.end': 2}
    short |= {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
    short['default_hooks.checkpoint.interval'] = 2
    classifier = on(plan.pre_training(0), data, **short)
    parent = on(
        plan.constant_part('pretrained', 0, classifier),
        data,
        **{'default_hooks.checkpoint.save_begin': 1, 'train_cfg.val_interval': 3},
    )
    branch = on(plan.SCHEDULE.branch('pretrained_2x', 2, parent), data)
    whole = dict(name='straight', weights=classifier, parent=None, begin=0)
    straight = dataclasses.replace(branch, **whole)
    folder = tmp_path_factory.mktemp('study')
    executor = Executor(folder / 'results', folder / 'work_dirs', LocalLauncher(2))
    with forked_runs():
        failed = executor.execute([branch, straight])
    patch.undo()
    assert not failed
    return executor, classifier, parent, branch, straight


def weights(executor: Executor, run: Run, iteration: int) -> dict[str, torch.Tensor]:
    return checkpoint.load(str(executor.folder(run) / f'iter_{iteration}.pth'))['state_dict']


def test_a_branch_is_the_straight_run(study):
    executor, _, parent, branch, straight = study
    assert branch.begin == 1
    branched, whole = (weights(executor, run, 4) for run in (branch, straight))
    assert all(torch.equal(branched[name], whole[name]) for name in whole)
    undropped = weights(executor, parent, 3)
    assert not all(torch.equal(undropped[name], whole[name]) for name in whole)
    ours, theirs = (run.result(executor.results)['history'][-1] for run in (branch, straight))
    for result in (ours, theirs):
        del result['train_seconds']
    assert ours == theirs


def test_pre_trained_weights_are_those_of_the_classifier(study):
    executor, classifier, parent, *_ = study
    before = weights(executor, classifier, 2)
    after = weights(executor, parent, 1)
    shared = [name for name in before if name.startswith('backbone.')]
    assert len(shared) > 50
    moved = max((before[name] - after[name]).abs().max() for name in shared)
    assert moved < 0.1, 'one step away'
    assert 'accuracy' in classifier.result(executor.results)['history'][-1]


def test_finished_runs_are_known_and_others_not(study, data):
    executor, classifier, _, branch, straight = study
    assert executor.missing([branch, straight]) == []
    other = dataclasses.replace(straight, seed=1)
    assert executor.missing([other]) == [other]
    changed = on(straight, data, **{'optim_wrapper.optimizer.lr': 0.01})
    assert changed.key != straight.key
    assert executor.missing([changed]) == [changed]
    logged = on(straight, data, **{'default_hooks.logger.interval': 7})
    assert executor.missing([logged]) == [], 'what is logged decides nothing'
    result = branch.result(executor.results)
    assert result['images_seen'] == 8
    assert len(result['loss']) == 3
    assert result['begins_with'] == ['pretrained_trunk_seed0']
    assert classifier.result(executor.results)['name'] == 'classifier'


def test_a_checkpoint_that_is_gone_is_trained_again(study, tmp_path):
    executor, classifier, parent, branch, _ = study
    elsewhere = Executor(executor.results, tmp_path / 'work_dirs')
    another = dataclasses.replace(branch, name='another')
    assert [run.label for run in elsewhere.missing([another])] == [
        classifier.label,
        parent.label,
        another.label,
    ]
    assert executor.missing([another]) == [another]


def test_a_run_that_is_stopped_goes_on_where_it_was(data, tmp_path, monkeypatch):
    """Killed in its last validation, when the last checkpoint is there already."""
    short = {'param_scheduler.1.milestones': [], 'param_scheduler.1.end': 1}
    short |= {'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1}
    short['default_hooks.checkpoint.interval'] = 1
    run = on(plan.pre_training(0), data, **short)
    executor = Executor(tmp_path / 'results', tmp_path / 'work_dirs')

    class Stop(BaseException):
        pass

    sleep, stopped = time.sleep, []

    def stop_when_saved(seconds):
        # MMEngine makes the file empty, and then writes the name into it
        file = executor.folder(run) / 'last_checkpoint'
        if not stopped and file.exists() and file.read_text():
            stopped.append(True)
            raise Stop
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr('mmscratch.study.executor.time.sleep', stop_when_saved)
        with pytest.raises(Stop):
            executor.execute([run])
    assert run.result(executor.results) is None
    again = Executor(executor.results, executor.work_dirs)
    assert again.execute([run]) == {}
    assert run.result(executor.results)['history'][-1]['iteration'] == 1
    assert 'resumed epoch' in (executor.folder(run) / 'output.log').read_text()


def test_a_run_without_its_last_validation_fails(study, tmp_path):
    executor, _, _, branch, _ = study
    elsewhere = Executor(tmp_path / 'results', tmp_path)
    elsewhere.folder(branch).mkdir()
    report = json.loads((executor.folder(branch) / 'metrics.json').read_text())
    report['history'][-1]['iteration'] -= 1
    (elsewhere.folder(branch) / 'metrics.json').write_text(json.dumps(report))
    with pytest.raises(InputError, match='iteration 4 was not validated'):
        elsewhere._write_result(branch)


def test_folders_go_when_nothing_needs_them(study, tmp_path):
    executor, classifier, parent, branch, straight = study
    copies = Executor(tmp_path / 'results', tmp_path / 'work_dirs')
    shutil.copytree(executor.results, copies.results)
    runs = [classifier, parent, branch, straight]
    for run in runs:
        copies.folder(run).mkdir(parents=True)
    later = dataclasses.replace(branch, name='later')
    copies._checkpoint(parent, later).touch()
    copies.tidy([*runs, later])
    assert [run for run in runs if copies.folder(run).exists()] == [parent]


def test_a_branch_past_its_drop_is_told(study, forked_runs):
    executor, *_, branch, _ = study
    with forked_runs():
        failed = executor.execute([dataclasses.replace(branch, name='late', begin=3)])
    told = failed['late_seed0']
    assert 'iter_3.pth: MultiStepLR differs from this config up to iteration 3' in told


def results_of(gaps: dict[int, list[float]]) -> seed_statistics.Results:
    """Scratch at 50 AP with every seed; pre-training so much ahead."""
    results = {}
    for length in (*plan.LENGTHS, plan.LONGER):
        ahead = gaps.get(length, [0.0, 0.0])
        for name, values in (
            (f'scratch_{length}x', [50.0] * len(ahead)),
            (f'pretrained_{length}x', [50 + value for value in ahead]),
        ):
            results[name] = [
                dict(
                    history=[dict(bbox_mAP=value / 100, segm_mAP=value / 200)],
                    iterations=300 * length,
                )
                for value in values
            ]
    return results


@pytest.mark.parametrize(
    ('first', 'last', 'word'),
    [
        ([5, 6, 7], [0.5, -0.5, 0.1], HOLDS),
        ([5, 6, 7], [3, 3.5, 4], FAILS),
        # a spread as wide as this hides any difference
        ([5, 6, 7], [-2, 6, 2], OPEN),
        ([1, -1, 0], [0, 1, -1], OPEN),
    ],
)
def test_verdict_on_schedules(first, last, word):
    results = results_of({plan.SHORTEST: first, plan.LONGEST: last, plan.LONGER: last})
    assert judges.catches_up(results).word == word


@pytest.mark.parametrize('claim', CLAIMS, ids=lambda claim: claim.number)
@pytest.mark.parametrize('alone', ['first', 'last'])
def test_one_seed_of_any_run_decides_nothing(claim, alone):
    names = [run.name for run in in_order(claim.of_seeds([0]))]
    results = ending(**{name: [20.0 + k, 21.0 + k] for k, name in enumerate(names)})
    for rows in results.values():
        for row in rows:
            row.update(images_seen=1, objects_per_image=1.0)
            row['history'][-1] |= {f'{k}_mAP_{n}': 0.5 for k in ('bbox', 'segm') for n in (50, 75)}
    assert '(one seed)' not in claim.verdict(results).numbers
    single = [run.name for run in claim.of_seeds([0])][0 if alone == 'first' else -1]
    results[single] = results[single][:1]
    verdict = claim.verdict(results)
    assert verdict.word == OPEN
    assert verdict.numbers.endswith('(one seed)')


def test_verdict_on_overlap():
    def results_with(fine: list[float]) -> seed_statistics.Results:
        last = plan.LONGER
        rows = {}
        for name, values in ((f'scratch_{last}x', fine), (f'pretrained_{last}x', [40.0, 41.0])):
            coarse = {f'{kind}_mAP_50': 0.6 for kind in ('bbox', 'segm')}
            rows[name] = [
                dict(history=[{**coarse, 'bbox_mAP_75': v / 100, 'segm_mAP_75': v / 100}])
                for v in values
            ]
        return rows

    verdict = judges.overlap(results_with([44.0, 45.0]))
    assert verdict.word == HOLDS
    assert 'scratch gains +4.0 ± 3.0 more at IoU 0.75' in verdict.numbers
    assert judges.overlap(results_with([40.5, 41.0])).word == OPEN
    assert judges.overlap(results_with([36.0, 37.0])).word == FAILS


def test_verdict_on_images_seen():
    results = results_of({1: [5, 6, 7], 2: [5, 6, 7]})
    for name, rows in results.items():
        for row in rows:
            row.update(images_seen=8 * row['iterations'], objects_per_image=4.0)
            if name.startswith('scratch_4'):
                row['history'][-1]['bbox_mAP'] = 0.56
    results['classifier'] = [dict(images_seen=48_000, objects_per_image=1.0) for _ in range(3)]
    verdict = judges.cost(results)
    # 4x: 9,600 images of 128 x 128; 2x: 4,800, and 48,000 of 64 x 64
    assert verdict.word == HOLDS
    assert verdict.numbers.startswith('4x from scratch reaches 2x')
    shares = (9600 / 52800, 38400 / 67200, 9600 / 16800)
    assert '{:.2f} times the images, {:.2f} times the objects and {:.2f} times the pixels'.format(
        *shares
    ) in (verdict.numbers)
    # nothing from scratch comes near
    above = results | {'pretrained_2x': [dict(history=[dict(bbox_mAP=0.9)])]}
    assert judges.cost(above).word == OPEN
    for row in results['classifier']:
        row['images_seen'] = 1000
    assert judges.cost(results).word == FAILS


def test_verdicts_on_dsod():
    given = dict(pretrained_4x=[50.0, 52.0], dsod=[30.0, 32.0])
    fails = judges.proposals(ending(scratch_4x=[40.0, 42.0], **given))
    assert fails.word == FAILS
    assert 'reaches 0.80 of' in fails.numbers
    assert 'its lead over DSOD is +10.0 ± 6.1 box AP' in fails.numbers
    assert judges.proposals(ending(scratch_4x=[0.1, 0.2], **given)).word == HOLDS
    given['dsod'] = [0.1, 0.2]
    assert judges.proposals(ending(scratch_4x=[0.1, 0.2], **given)).word == OPEN
    parts = [name for name in plan.ABLATION if name != 'dsod_whole']
    for others, word in (
        ([20.0, 20.0, 20.0], HOLDS),
        ([20.0, 30.0, 20.0], OPEN),
        ([20.0, 40.0, 20.0], FAILS),
    ):
        values = {name: [ap, ap + 1] for name, ap in zip(parts, others)}
        assert judges.ablation(ending(dsod_whole=[30.0, 31.0], **values)).word == word


def ending(**values: list[float]) -> seed_statistics.Results:
    """Runs by their last box AP, as keypoint AP too, and by a loss that is a tenth of it."""
    return {
        name: [
            dict(
                seed=seed,
                begin=0 if name.endswith('_12x') else 1,
                iterations=8,
                history=[
                    dict(iteration=8, bbox_mAP=v / 100, segm_mAP=v / 100, keypoints_mAP=v / 100)
                ],
                loss=[[step, v / 10] for step in range(8)],
            )
            for seed, v in enumerate(of_seeds)
        ]
        for name, of_seeds in values.items()
    }


@pytest.mark.parametrize(
    ('twice', 'word'),
    [([40.0, 41.0], HOLDS), ([50.0, 51.0], FAILS), ([38.0, 50.0], OPEN)],
)
def test_verdict_on_the_learning_rate(twice, word):
    values = {name: [30.0, 31.0] for name in plan.LEARNING_RATES.values()}
    values |= {'pretrained_2x': [41.0, 42.0], 'pretrained_lr0.16_2x': twice}
    verdict = judges.learning_rates(ending(**values))
    assert verdict.word == word
    assert f'{sum(twice) / len(twice):.1f} at 0.16' in verdict.numbers


@pytest.mark.parametrize(
    ('last', 'two_images', 'word'),
    [
        ([50.0, 51.0], [40.0, 41.0], HOLDS),
        ([40.0, 41.0], [40.0, 41.0], FAILS),
        ([50.0, 51.0], [60.0, 61.0], FAILS),
        ([50.0, 51.0], [50.0, 51.0], OPEN),
    ],
)
def test_verdict_on_batch_norm(last, two_images, word):
    results = ending(
        bn_scratch_1x=[20.0, 21.0],
        bn_pretrained_1x=[30.0, 31.0],
        bn_scratch_6x=last,
        bn_pretrained_6x=[50.0, 51.0],
        scratch_3x=[50.0, 51.0],
        bn2_scratch_3x=two_images,
        bn1_scratch_3x=[10.0, 11.0],
    )
    verdict = judges.batch_norm(results)
    assert verdict.word == word
    assert '1 image at a time cost BN +40.0 ± 3.0 box AP' in verdict.numbers


def subsets(
    prefix: str, scratch: list[float], pretrained: list[float], best_at: int = 6
) -> seed_statistics.Results:
    """Scratch is at its best with 6x or as told, pre-training with 3x."""
    lengths = (1, 3, 6, 12) if prefix == 'tenth_' else (1, 3, 6)
    ends = {f'{prefix}{kind}_{n}x': [5.0, 6.0] for kind in plan.INITIALIZATIONS for n in lengths}
    ends |= {f'{prefix}scratch_{best_at}x': scratch, f'{prefix}pretrained_3x': pretrained}
    return ending(**ends | {f'{prefix}pretrained_{lengths[-1]}x': [19.0, 20.0]})


@pytest.mark.parametrize(
    ('tenth', 'best_at', 'hundredth', 'word'),
    [
        ([40.0, 41.0], 6, [12.0, 13.0], HOLDS),
        ([30.0, 31.0], 6, [12.0, 13.0], FAILS),
        # may need more than 12x
        ([30.0, 31.0], 12, [12.0, 13.0], OPEN),
        ([38.0, 41.0], 6, [12.0, 13.0], OPEN),
        ([40.0, 41.0], 6, [20.0, 20.9], OPEN),
        ([40.0, 41.0], 6, [30.0, 31.0], FAILS),
    ],
)
def test_verdict_on_less_data(tenth, best_at, hundredth, word):
    results = subsets('tenth_', tenth, [40.0, 41.0], best_at)
    results |= subsets('hundredth_', hundredth, [20.0, 21.0])
    for row in results['hundredth_scratch_6x']:
        row['loss'] = [[step, 2.0] for step in range(8)]
    verdict = judges.less_data(results)
    assert verdict.word == word
    assert f"pre-training's lead (3x) over scratch ({best_at}x) is" in verdict.numbers
    assert 'at 12x; with 30' in verdict.numbers
    assert 'with training losses of 1.95 and 2.00 at 6x' in verdict.numbers


def test_with_a_hundredth_of_the_data_the_training_loss_has_to_be_as_low():
    results = subsets('tenth_', [40.0, 41.0], [40.0, 41.0])
    results |= subsets('hundredth_', [12.0, 13.0], [20.0, 21.0])
    assert judges.less_data(results).word == HOLDS
    # pre-training ends at 1.95
    for row in results['hundredth_scratch_6x']:
        row['loss'] = [[step, 2.1] for step in range(8)]
    assert judges.less_data(results).word == OPEN


@pytest.mark.parametrize(
    ('scratch', 'word'),
    [([30.0, 31.0], HOLDS), ([36.0, 37.0], OPEN), ([42.0, 43.0], FAILS)],
)
def test_verdict_on_few_objects(scratch, word):
    results = subsets('sparse_', scratch, [40.0, 41.0])
    results |= subsets('tenth_', [36.0, 37.0], [40.0, 41.0])
    verdict = judges.sparse(results)
    assert verdict.word == word
    # four means of two seeds, variance 1/2 each: standard error 1, 4 degrees of freedom
    assert verdict.numbers.endswith('± 2.8')


@pytest.mark.parametrize(
    ('msra', 'gaussian', 'word'),
    [
        ([40.0, 41.0], [0.5, 0.6], HOLDS),
        ([40.0, 41.0], [30.0, 0.6], FAILS),
        ([1.0, 1.1], [0.0, 0.0], FAILS),
    ],
)
def test_verdict_on_vgg(msra, gaussian, word):
    assert judges.vgg(ending(vgg_msra=msra, vgg_gaussian=gaussian)).word == word


@pytest.mark.parametrize(
    ('frozen', 'word'),
    [([30.0, 31.0], HOLDS), ([40.0, 41.0], OPEN), ([50.0, 51.0], FAILS)],
)
def test_verdict_on_frozen_layers(frozen, word):
    verdict = judges.frozen(ending(scratch_3x=[40.0, 41.0], frozen_3x=frozen))
    assert verdict.word == word


@pytest.mark.parametrize(
    ('early', 'late', 'word'),
    [
        ([30.0, 31.0], [60.0, 61.0], HOLDS),
        ([50.0, 51.0], [60.0, 61.0], FAILS),
        ([40.0, 41.0], [60.0, 61.0], OPEN),
        # the large rate overfits too
        ([30.0, 31.0], [30.0, 31.0], FAILS),
        ([30.0, 31.0], [40.0, 41.0], OPEN),
    ],
)
def test_verdict_on_the_early_drop(early, late, word):
    runs = dict(scratch_2x=[40.0, 41.0], scratch_6x=late, scratch_6x_early_drop=early)
    verdict = judges.early_drop(ending(**runs))
    assert verdict.word == word
    assert verdict.numbers.startswith('900 iterations more than 2x bring')
    assert f'from 4.05 to {early[0] / 10 + 0.05:.2f} and' in verdict.numbers


@pytest.mark.parametrize(
    ('keypoints', 'boxes', 'word'),
    [(3, 6, HOLDS), (6, 3, FAILS), (3, 3, OPEN), (3, 9, HOLDS)],
)
def test_verdict_on_keypoints(keypoints, boxes, word):
    """Each catches up at a length."""
    ends = {}
    for prefix, at in (('keypoint_', keypoints), ('', boxes)):
        for n in plan.COARSE_LENGTHS:
            ends[f'{prefix}pretrained_{n}x'] = [40.0, 41.0]
            ends[f'{prefix}scratch_{n}x'] = [40.0, 41.0] if n >= at else [30.0, 31.0]
    verdict = judges.keypoints(ending(**ends))
    assert verdict.word == word
    assert 'lead in keypoint AP is +10.0 ± 3.0 at 1x' in verdict.numbers


def test_keypoints_that_are_not_learned_decide_nothing():
    ends = {}
    for n in plan.COARSE_LENGTHS:
        for kind in plan.INITIALIZATIONS:
            ends[f'keypoint_{kind}_{n}x'] = [0.0, 0.1]
        ends |= {f'scratch_{n}x': [30.0, 31.0], f'pretrained_{n}x': [40.0, 41.0]}
    assert judges.keypoints(ending(**ends)).word == OPEN


@pytest.mark.parametrize('claim', [c for c in CLAIMS if c.figure], ids=lambda claim: claim.number)
def test_figures_are_made_of_results_alone(claim, tmp_path):
    """Every figure from the runs of its claim, of two seeds."""
    runs = in_order([run for seed in (0, 1) for run in claim.of_seeds([seed])])
    results = ending(**{run.name: [20.0 + len(run.name), 21.0] for run in runs})
    page.draw(claim, STUDY, results, tmp_path / 'claim.svg')
    assert 5_000 < (tmp_path / 'claim.svg').stat().st_size < 200_000


def test_a_seed_without_its_constant_part_is_drawn(tmp_path):
    runs = in_order([run for seed in (0, 1) for run in plan.less_data(seed)])
    results = ending(**{run.name: [20.0, 21.0] for run in runs})
    results['hundredth_scratch_trunk'].pop()
    figures.draw_subsets(results, tmp_path / 'claim5.svg')
    assert (tmp_path / 'claim5.svg').exists()


@pytest.mark.parametrize(
    'run',
    {run.config: run for claim in CLAIMS for run in claim.of_seeds([0])}.values(),
    ids=lambda run: Path(run.config).stem,
)
def test_every_model_of_the_study_builds(run):
    from mmdet.registry import MODELS
    from mmengine.utils import import_modules_from_strings

    cfg = run.load()
    import_modules_from_strings(**cfg.custom_imports)
    with torch.device('meta'):
        assert MODELS.build(cfg.model)
    assert cfg.train_dataloader.dataset.data_root == f'data/miniature/{run.data.name}/'
    assert list(cfg.train_dataloader.dataset.metainfo['classes']) == list(
        DATA[run.data.name][0].classes
    )


@pytest.mark.parametrize('name', plan.ABLATION)
def test_every_part_of_dsod_can_be_left_out(name):
    from mmdet.registry import MODELS
    from mmengine.utils import import_modules_from_strings

    cfg = Run(name, plan.DSOD_LARGE, 0, of_config(plan.DSOD_LARGE), plan.ABLATION[name]).load()
    import_modules_from_strings(**cfg.custom_imports)
    with torch.device('meta'):
        model = MODELS.build(cfg.model).to('meta').eval()
    images = torch.empty(1, 3, *LARGE.size, device='meta')
    scores, _ = model.bbox_head(model.extract_feat(images))
    assert [score.shape[-1] for score in scores] == [16, 8, 4, 2, 1, 1]
    assert list(cfg.metainfo['classes']) == list(LARGE.classes)


def test_claims_share_runs():
    keys: dict[str, set[str]] = {}
    for claim in CLAIMS:
        for run in claim.of_seeds([0]):
            for one in (run, *run.needs, *(far for need in run.needs for far in need.needs)):
                keys.setdefault(one.label, set()).add(one.key)
    assert {label for label, found in keys.items() if len(found) > 1} == set()
    alone = {run.label for run in in_order(plan.schedules(0))}
    assert {run.label for run in in_order(plan.frozen(0))} - alone == {
        'frozen_trunk_seed0',
        'frozen_3x_seed0',
    }
    early = next(run for run in plan.early_drop(0) if run.name == 'scratch_6x_early_drop')
    assert early.load().param_scheduler[1].milestones == [300, 1350 - 50]
    assert early.begin == 299


def test_every_detector_of_the_study_trains(tmp_path, data, forked_runs):
    """One step and an evaluation of each config, one image at a time in the first."""
    short = {'param_scheduler.1.milestones': [], 'param_scheduler.1.end': 1}
    short |= {'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1}
    short['default_hooks.checkpoint.interval'] = 1
    runs = [
        on(
            plan.run_of('bn1', plan.DETECTOR_BN, 0),
            data,
            **short,
            **{'train_dataloader.batch_size': 1},
        ),
        *(
            on(plan.run_of(Path(config).stem, config, 0), data, **short)
            for config in (plan.DETECTOR_MS, plan.DETECTOR_SPARSE, plan.KEYPOINT_DETECTOR, plan.VGG)
        ),
    ]
    executor = Executor(tmp_path / 'results', tmp_path / 'work_dirs', LocalLauncher(2))
    with forked_runs():
        assert executor.execute(runs) == {}
    for run in runs:
        result = run.result(executor.results)
        assert (result['iterations'], result['images_seen']) == (1, 2)
        assert 'bbox_mAP' in result['history'][-1]
    assert 'keypoints_mAP' in runs[3].result(executor.results)['history'][-1]


def test_gap_is_that_of_students_t():
    found = seed_statistics.gap([4.0, 6.0, 5.0], [1.0, 1.0, 1.0])
    # variance 1/2 on 4 degrees of freedom, where tables say 2.776: standard error sqrt(1/3)
    assert (found.value, found.error) == (4.0, pytest.approx(2.776 / 3**0.5, abs=1e-3))
    assert seed_statistics.gap([4.0], [1.0, 1.0]).error == float('inf')


def test_the_plan_follows_the_papers_rule():
    runs = {run.label: run for run in in_order([*plan.schedules(0), *plan.schedules(1)])}
    # a classifier, two constant parts, six lengths; 12x in one go
    assert len(runs) == 2 * (1 + 2 + 2 * 6 + 2)
    for length in plan.LENGTHS:
        run = runs[f'scratch_{length}x_seed1']
        cfg = run.load()
        drops, end = cfg.param_scheduler[1].milestones, cfg.train_cfg.max_iters
        # 60k and 20k of 90k
        assert [(end - drop) / plan.SCHEDULE.one for drop in drops] == pytest.approx(
            [2 / 3, 2 / 9], abs=0.01
        )
        assert end == length * plan.SCHEDULE.one
        assert run.begin == drops[0] - 1
        assert run.iterations == plan.SCHEDULE.first_drop + 1
        saved = run.parent.load().default_hooks.checkpoint
        assert (run.begin - saved.save_begin) % saved.interval == 0
    assert runs['scratch_6x_seed1'].parent.iterations == runs['scratch_6x_seed1'].begin
    assert not set(DETECTION.classes) & set(CLASSIFICATION.classes)
    assert list(DETECTION.classes) == list(cfg.metainfo['classes'])


def test_the_page_is_made_from_results_alone(tmp_path):
    results = results_of({1: [5, 6, 7]})
    for run in [run for seed in range(3) for run in plan.schedules(seed)]:
        of_seeds = results[run.name]
        row = of_seeds[run.seed % len(of_seeds)]
        known = dict(key=run.key, train_seconds=1800.0, hardware='4 GPUs', begin=run.begin)
        (tmp_path / 'runs').mkdir(exist_ok=True)
        (tmp_path / f'runs/{run.label}.json').write_text(json.dumps({**known, **row}))
    pages = []
    for _ in range(2):
        chosen = tuple(claim for claim in CLAIMS if claim.number in (1, 8))
        page.write(tmp_path, dataclasses.replace(STUDY, claims=chosen))
        pages.append([(tmp_path / name).read_bytes() for name in ('README.md', 'claim1.svg')])
    assert pages[0] == pages[1]
    text = pages[0][0].decode()
    # half an hour each, and of a branch the part that it trained itself
    parent = plan.constant_part('', 0)
    hours = sum(
        1.5 * (1 - plan.SCHEDULE.branch('', n, parent).begin / (300 * n)) for n in plan.LENGTHS
    )
    hours += 1.5  # 12x in one go
    assert f'42 runs, whose training times add up to {2 * hours:.1f} hours;' in text
    assert 'several run at a time (4 GPUs).' in text
    assert "**holds**: pre-training's lead in box AP is +6.0 ± 1.6 at 1x" in text
    first, other = (next(c.title for c in CLAIMS if c.number == n) for n in (1, 8))
    assert f'\n| 1 | {first} | holds |\n| 8 | {other} | not run yet |\n' in text
    assert 'Not run yet: frozen_3x.' in text
    assert text.count('| pretrained_1x |') == 1
    assert '| pretrained_1x | 3 | 300 | 56.0 (55.0 to 57.0) | 28.0 (27.5 to 28.5) |' in text


def test_a_repetition_is_compared():
    before = ending(scratch_1x=[10.0, 12.0], scratch_3x=[30.0, 31.0, 32.0], dsod=[5.0])
    again = ending(scratch_1x=[15.0], scratch_2x=[20.0], scratch_3x=[31.0, 34.0], dsod=[5.0])
    again['classifier'] = [dict(history=[dict(accuracy=0.97)])]
    # a variance of 4 / 3, and t = 3.182 with 3 degrees of freedom
    assert page.compare(again, before).splitlines() == [
        'scratch_1x: box AP 15.0, before 11.0 (10.0 to 12.0): +4.0 ± 4.5',
        'scratch_2x: box AP 20.0, before not run',
        'scratch_3x: box AP 32.5 (31.0 to 34.0), before 31.0 (30.0 to 32.0): +1.5 ± 3.4',
        'dsod: box AP 5.0, before 5.0: +0.0 ± 5.2',
        'classifier: accuracy 97.0, before not run',
        '3 of 3 are within the ±, as 95 % of seeds would be',
    ]
    again['dsod'] = again['scratch_3x']
    assert '2 of 3 are within' in page.compare(again, before)


def test_one_seed_before_says_nothing_of_the_spread():
    runs = ending(dsod=[5.0])
    assert page.compare(runs, runs) == 'dsod: box AP 5.0, before 5.0: +0.0'


@pytest.mark.parametrize(
    ('arguments', 'told'),
    [(['--report'], 'run this at the root'), (['--jobs', '0'], '--jobs 0: give 1 or more')],
)
def test_the_tool_tells_mistakes_in_one_line(run_tool, tmp_path, arguments, told):
    elsewhere = functools.partial(os.chdir, tmp_path)
    arguments = ['analysis/study.py', 'miniature', *arguments]
    assert told in run_tool(*arguments, expect=2, prepare=elsewhere).splitlines()[-1]


def test_the_tool_compares_a_repetition_with_the_committed_study(run_tool, tmp_path):
    (tmp_path / 'runs').mkdir()
    for file in (ROOT / 'results/miniature/runs').glob('vgg_*_seed0.json'):
        shutil.copy(file, tmp_path / 'runs')
    arguments = ['miniature', '--report', '--claim', '7', '--again', tmp_path]
    said = run_tool('analysis/study.py', *arguments, is_forked=False).splitlines()
    assert said[0].startswith('vgg_msra: box AP ')
    assert said[-1].startswith('7. Without normalization')
    assert said[-1].endswith('(one seed))')
    assert '| vgg_msra | 1 |' in (tmp_path / 'README.md').read_text()


def test_the_committed_study_has_nothing_to_train(tmp_path):
    """Of all claims and seeds, and every result belongs to a run of theirs."""
    committed = ROOT / 'results/miniature/runs'
    every = in_order([run for claim in CLAIMS for run in claim.of_seeds(range(3))])
    lacking = [run.label for run in every if run.result(committed) is None]
    assert lacking == []
    # what a run of more seeds left is of a run, too
    more = in_order([run for claim in CLAIMS for run in claim.of_seeds(range(4))])
    assert {file.stem for file in committed.iterdir()} <= {run.label for run in more}


def spoil(cfg: Config, **options) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return cfg


@pytest.fixture(scope='module')
def detector() -> Config:
    return Config.fromfile(ROOT / plan.DETECTOR)


@pytest.mark.parametrize(
    'options',
    [
        dict(model__backbone__depth=34),
        dict(model__test_cfg__rcnn__score_thr=0.1),
        dict(train_dataloader__batch_size=4),
        dict(train_dataloader__sampler__subset=30),
        dict(train_dataloader__dataset__pipeline__2__scale=(96, 96)),
        dict(train_dataloader__dataset__filter_cfg__min_size=9),
        dict(train_dataloader__dataset__metainfo__classes=('disc',)),
        dict(train_cfg__max_iters=7),
        dict(optim_wrapper__optimizer__lr=0.5),
        dict(optim_wrapper__clip_grad=dict(max_norm=1)),
        dict(param_scheduler__1__milestones=[5]),
        dict(auto_scale_lr__base_batch_size=32),
        dict(val_evaluator__metric='bbox'),
        dict(default_hooks__init__rules=[dict(pattern='backbone', fill='msra')]),
        dict(default_hooks__ema__type='EMAHook'),
        dict(custom_hooks=[dict(type='EMAHook')]),
        dict(drop_bad_boxes=True),
    ],
)
def test_what_decides_a_result_is_meant(detector, options):
    assert meaning(spoil(detector, **options)) != meaning(detector)


@pytest.mark.parametrize(
    'options',
    [
        dict(custom_imports=dict(imports=['mmscratch.elsewhere'])),
        dict(work_dir='elsewhere', log_level='DEBUG'),
        dict(train_dataloader__dataset__data_root='elsewhere'),
        dict(train_dataloader__dataset__ann_file='other.json'),
        dict(train_dataloader__dataset__data_prefix=dict(img='other')),
        dict(train_dataloader__num_workers=7, train_dataloader__persistent_workers=False),
        dict(val_evaluator__ann_file='other.json'),
        dict(default_hooks__logger__interval=3),
        dict(default_hooks__checkpoint__interval=3),
        dict(default_hooks__preflight__init='pretrained'),
        dict(default_hooks__visualization=None),
        dict(visualizer__vis_backends=[]),
        dict(env_cfg__dist_cfg__backend='gloo'),
        dict(train_pipeline=[], data_root='elsewhere'),
        dict(tta_pipeline=[]),
    ],
)
def test_names_and_pictures_are_not_meant(detector, options):
    assert meaning(spoil(detector, **options)) == meaning(detector)

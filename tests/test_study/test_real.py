"""The study of real images: its plan, its verdicts, its page. It needs no images."""

import dataclasses
import json
from pathlib import Path

import pytest

from mmscratch.data import layouts
from mmscratch.errors import InputError
from mmscratch.study import page, seed_statistics
from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.pseudo_label_run import PseudoLabelRun
from mmscratch.study.real import CLAIMS, data, figures, judges, plan
from mmscratch.study.run import in_order
from mmscratch.study.verdict import FAILS, HOLDS, OPEN

ROOT = Path(__file__).resolve().parents[2]


def ending(**values: list[float]) -> seed_statistics.Results:
    """Runs by their last box AP; AP50 is 20 higher, AP75 as high."""
    return {
        name: [
            dict(
                iterations=250 * int(name.rpartition('_')[2].rstrip('x') or 0)
                if name.endswith('x')
                else 1,
                history=[
                    dict(bbox_mAP=v / 100, bbox_mAP_50=(v + 20) / 100, bbox_mAP_75=v / 100)
                    | dict(segm_mAP=v / 100)
                ],
            )
            for v in of_seeds
        ]
        for name, of_seeds in values.items()
    }


def of_part(part: str, scratch: list[float], pretrained: list[float]) -> dict[str, list[float]]:
    """The mean of two seeds at each length."""
    sides = dict(scratch=scratch, pretrained=pretrained)
    return {
        f'{part}_{arm}_{n}x': [ap - 0.5, ap + 0.5]
        for arm, means in sides.items()
        for n, ap in zip((*plan.LENGTHS, plan.LONGER), means)
    }


@pytest.mark.parametrize(
    ('scratch', 'word', 'told'),
    [
        ([10, 40, 50], HOLDS, 'scratch is as good first at 4x'),
        ([10, 50, 50], HOLDS, 'scratch is as good first at 2x'),
        ([10, 20, 35], FAILS, 'scratch is never as good'),
        ([10, 20, 48], OPEN, 'scratch is never as good'),
    ],
)
def test_verdict_on_catching_up(scratch, word, told):
    results = ending(**of_part('deeppcb', scratch, [40, 50, 50]))
    verdict = judges.catches_up(results, 'deeppcb')
    assert verdict.word == word
    assert told in verdict.numbers
    assert verdict.numbers.startswith("ImageNet's lead in box AP is +30.0 ± 3.0 at 1x")
    assert 'ImageNet +0.0 ± ' in verdict.numbers


@pytest.mark.parametrize(('boards', 'word'), [(50, HOLDS), (48, OPEN), (35, FAILS)])
def test_verdict_on_twice_the_longest_schedule(boards, word):
    values = of_part('deeppcb', [10, 20, 30, boards], [40, 45, 50, 50])
    verdict = judges.twice_as_long(ending(**values), 'deeppcb')
    assert verdict.word == word
    assert f"ImageNet's lead is +{50 - boards}.0 ± " in verdict.numbers
    assert f'from 4x to 8x scratch gains +{boards - 30}.0 ± ' in verdict.numbers


def test_iterations_that_buy_imagenet_back():
    results = ending(**of_part('deeppcb60', [10, 20, 41], [40, 45, 50]))
    assert judges.bought_back(results, 'deeppcb60').endswith('which scratch reaches by 4x')
    results = ending(**of_part('deeppcb60', [10, 20, 39], [40, 45, 50]))
    assert judges.bought_back(results, 'deeppcb60').endswith('and scratch has less up to 4x')


@pytest.mark.parametrize(('few', 'word'), [(20, HOLDS), (46, OPEN), (60, FAILS)])
def test_verdict_on_fewer_images(few, word):
    values = of_part('deeppcb', [0, 0, 45, 0], [0, 0, 48, 0])
    values |= of_part('deeppcb60', [0, 0, few], [0, 0, 48])
    verdict = judges.fewer_images(ending(**values))
    assert verdict.word == word
    assert '+3.0 ± 3.0 with 1,000' in verdict.numbers


@pytest.mark.parametrize(('fine', 'word'), [(5, HOLDS), (0, OPEN), (-5, FAILS)])
def test_verdict_on_exact_boxes(fine, word):
    results = ending(**of_part('deeppcb', [0, 0, 45], [0, 0, 48]))
    for k, row in enumerate(results['deeppcb_scratch_4x']):
        row['history'][-1]['bbox_mAP_75'] += (fine + k) / 100
    assert judges.overlap(results, 'deeppcb').word == word


@pytest.mark.parametrize(
    ('arms', 'word'), [((30, 30, 60), HOLDS), ((30, 45, 30), OPEN), ((30, 30, 30), FAILS)]
)
def test_verdict_on_few_labels(arms, word):
    names = [run.name for run in plan.few_labels(0)]
    values = {name: [44.5, 45.5] for name in names}
    values |= {plan.arm_name(arm): [ap, ap + 1.0] for arm, ap in zip(plan.OWN_ARMS, arms)}
    assert judges.few_labels(ending(**values)).word == word


def test_verdict_on_a_frozen_trunk():
    names = {run.name: [44.5, 45.5] for run in plan.few_labels(0)}
    assert judges.frozen(ending(**names)).word == HOLDS
    names[plan.arm_name('frozen')] = [30.0, 31.0]
    assert judges.frozen(ending(**names)).word == FAILS


def pixels(run) -> int:
    """Pixels that a run and the runs before it have trained on; ImageNet's are not counted."""
    cfg = run.load()
    if isinstance(run, PseudoLabelRun):
        return sum(pixels(need) for need in run.needs)
    if isinstance(run, PretrainingRun):
        options = dict(zip(run.arguments[::2], map(int, run.arguments[1::2])))
        return options['--iterations'] * options['--batch-size'] * options['--size'] ** 2
    side = min(cfg.train_dataloader.dataset.pipeline[2].scale)
    if '--scale' in run.arguments:
        side //= 2
    own = (cfg.train_cfg.max_iters - run.begin) * cfg.train_dataloader.batch_size * side**2
    # the detector of other data is not counted
    needs = [need for need in run.needs if not need.name.startswith('bccd')]
    return own + sum(pixels(need) for need in needs)


def test_all_ways_on_few_labels_see_as_many_pixels():
    runs = plan.few_labels(0)
    assert {pixels(run) for run in runs} == {1000 * 8 * 192 * 192}
    assert len({run.name for run in runs}) == 8
    student = next(run for run in runs if run.labels)
    assert 'subset' not in student.load().train_dataloader.sampler
    assert student.labels.weights.load().train_dataloader.sampler.subset < plan.PARTS[plan.FEW][1]


def coco_layout(folder: Path, suffix: str = '') -> Path:
    """A data set without images, in COCO layout."""
    (folder / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (folder / 'annotations' / f'instances_{split}{suffix}.json').write_text('{}')
        (folder / f'{split}{suffix}').mkdir()
    return folder


def test_runs_know_their_commands(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'ROOT', tmp_path)
    boards = coco_layout(tmp_path / 'deeppcb')
    runs = {run.name: run for run in in_order(plan.few_labels(0))}

    def folder(run):
        return Path('at') / run.name

    own = runs['deeppcb60_own'].command(folder)
    assert own[own.index('--init') + 1] == 'at/deeppcb60_pretraining/backbone.pth'
    assert own[own.index('--data') + 1] == str(boards)
    pretraining = runs['deeppcb60_pretraining'].command(folder)
    assert pretraining[0] == 'pretrain.py'
    assert pretraining[pretraining.index('--images') + 1] == str(boards / 'train')
    labels = runs['deeppcb60_pseudo_labels'].command(folder)
    assert labels[:2] == ['data/pseudo_labels.py', 'at/deeppcb60_teacher/iter_500.pth']
    student = runs['deeppcb60_self-training'].command(folder)
    assert student[student.index('--data') + 1] == 'at/deeppcb60_pseudo_labels/data'
    assert '--freeze' in runs['deeppcb60_frozen-small'].command(folder)
    other = runs['deeppcb60_detector'].command(folder)
    assert other[other.index('--init') + 1] == 'at/bccd_pretrained_4x/iter_1000.pth'


def test_the_cost_counts_a_parent_once_and_pseudo_labels_as_nothing():
    every = [(3600, 0, 500), (7200, 500, 1000), (0, 0, 0)]
    rows = [dict(train_seconds=s, begin=b, iterations=n) for s, b, n in every]
    told = page.cost({str(k): [row] for k, row in enumerate(rows)})
    assert told == '3 runs, whose training times add up to 2.0 hours'


def test_a_longer_schedule_goes_on_from_the_shorter_ones_constant_rate():
    run = plan.longer(0, 'deeppcb')[0]
    longer, shorter = run.parent, run.parent.parent
    end = shorter.begin + shorter.iterations
    assert (longer.begin, longer.begin + longer.iterations) == (end, run.begin)
    assert run.begin + run.iterations == plan.LONGER * plan.SCHEDULE.one
    drops = run.load().param_scheduler[1].milestones
    assert drops == [run.begin + 1, plan.LONGER * plan.SCHEDULE.one - plan.SCHEDULE.second_drop]
    assert longer.load().param_scheduler[1].milestones == []


def test_all_continuations_of_a_run_know_of_its_weights():
    classifier = plan.twins(0, 'bccd')[0]
    begun = dataclasses.replace(classifier, name='begun', parent=None, weights=classifier)
    longer = plan.SCHEDULE.longer_trunk('longer', begun, plan.LONGER)
    for run in (longer, plan.SCHEDULE.branch('end', plan.LONGER, longer)):
        assert run.load().default_hooks.preflight.init == 'pretrained'


def test_twins_differ_in_their_weights_alone():
    scratch, pretrained = (
        next(run for run in plan.twins(0, 'bccd') if run.name == f'bccd_{arm}_4x')
        for arm in plan.INITIALIZATIONS
    )
    assert scratch.key != pretrained.key
    ours, theirs = (run.load().to_dict() for run in (scratch, pretrained))
    assert theirs.pop('load_from').startswith('package://')
    ours.pop('load_from')
    for cfg in (ours, theirs):
        cfg['default_hooks'].pop('preflight')
    assert ours == theirs


def test_what_makes_another_result_makes_another_key():
    run = next(run for run in plan.few_labels(0) if run.arguments)
    assert dataclasses.replace(run, arguments=()).key != run.key
    changed = dataclasses.replace(run.data, recipe='other images')
    assert dataclasses.replace(run, data=changed).key != run.key


def test_missing_and_other_data_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'ROOT', tmp_path)
    commands = (
        'git clone https://github.com/Shenggan/BCCD_Dataset BCCD_Dataset && '
        'python tools/data/real.py bccd BCCD_Dataset'
    )
    with pytest.raises(InputError, match=f'bccd: no such folder; .*MIT.*: {commands}$'):
        data.prepare([data.of('bccd')], workers=1)
    coco_layout(tmp_path / 'bccd')
    with pytest.raises(InputError, match='are not those of the committed results'):
        data.prepare([data.of('bccd')], workers=1)


def test_every_committed_result_is_of_a_run():
    committed = ROOT / 'results/real/runs'
    every = in_order([run for claim in CLAIMS for run in claim.of_seeds(range(3))])
    known = {run.label for run in every if run.result(committed) is not None}
    assert {file.stem for file in committed.iterdir()} == known


def test_the_arms_are_drawn(tmp_path):
    names = [run.name for run in plan.few_labels(0)]
    figures.draw_arms(ending(**{name: [40.0, 41.0] for name in names}), tmp_path / 'arms.svg')
    assert 'self-training' in json.dumps((tmp_path / 'arms.svg').read_text())


def test_images_to_pre_train_on_are_those_of_the_layout(tmp_path):
    voc = tmp_path / 'voc'
    coco = coco_layout(tmp_path / 'coco', '2017')
    assert layouts.images_of(coco) == coco / 'train2017'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (voc / 'VOC2007' / folder).mkdir(parents=True)
    for name in ('train', 'val'):
        (voc / 'VOC2007' / 'ImageSets/Main' / f'{name}.txt').write_text('a\n')
    assert layouts.images_of(voc) == voc / 'VOC2007' / 'JPEGImages'

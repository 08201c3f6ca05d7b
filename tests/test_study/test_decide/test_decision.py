"""A decision: its folder, how it goes on, what it answers. Runs are made up by a formula."""

import importlib.util
import json
import math
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from mmscratch.data import layouts
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.study.decide import answer, arm, decision, plan
from mmscratch.study.decide.decision import Decision
from mmscratch.study.decide.plan import Cost, Plan
from mmscratch.study.executor import Executor
from mmscratch.study.launchers import LocalLauncher
from mmscratch.study.run import in_order

ROOT = Path(__file__).resolve().parents[3]
CONFIG = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')
HOUR = 3600
PROBE = Decision._probe


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    shapes = ShapesConfig(size=(64, 64), objects=(1, 3), object_size=(0.2, 0.5))
    generate(folder, shapes, dict(train=64, val=4), progress=False)
    return folder


class Killed(BaseException):
    pass


class Formula(Executor):
    """Makes results up: AP of the arm, the images and the iterations; dies after some runs."""

    ahead = 12.0
    runs_to_live = 10_000
    broken = ()

    def execute(self, runs, seconds=float('inf'), watch=lambda ends: None):
        self.results.mkdir(parents=True, exist_ok=True)
        for run in self.missing(runs):
            if Formula.runs_to_live == 0:
                raise Killed
            Formula.runs_to_live -= 1
            if run.name in self.broken:
                watch([(run, 'no memory')])
                continue
            images = run.load().train_dataloader.sampler.subset
            end = run.begin + run.iterations
            ap = 20 + 8 * (images / 64) ** 0.3 + 4 * (end / 600) ** 0.5 + 0.3 * run.seed
            ap += self.ahead * ('imagenet' in run.name)
            result = dict(name=run.name, key=run.key, seed=run.seed, iterations=end)
            result |= dict(history=[dict(iteration=end, bbox_mAP=ap / 100)], process_seconds=60.0)
            (self.results / f'{run.label}.json').write_text(json.dumps(result))
            self.folder(run).mkdir(parents=True, exist_ok=True)
            watch([(run, '')])
        return {}

    def missing(self, runs):
        return [run for run in in_order(runs) if run.result(self.results) is None]


@pytest.fixture
def decide(data, tmp_path, monkeypatch):
    monkeypatch.setattr(decision, 'Executor', Formula)
    monkeypatch.setattr(Formula, 'runs_to_live', 10_000)
    monkeypatch.setattr(Formula, 'ahead', 12.0)
    cost = Cost(dict(scratch=0.5, imagenet=0.5), rest=15)
    monkeypatch.setattr(Decision, '_probe', lambda self, seconds: cost)

    def make(out='out', names=('scratch', 'imagenet'), root=data, **more):
        arms = arm.resolve(names, CONFIG)
        return Decision(tmp_path / out, CONFIG, arms, root, LocalLauncher(2), **more)

    return make


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('decide', ROOT / 'tools/decide.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_second_call_in_a_folder_changes_nothing(tool, decide, data, monkeypatch):
    made = decide()
    made.plan(HOUR)
    before = (made.folder / decision.PLAN).read_bytes()
    command = ['decide.py', '--data', str(data), '--budget', '9h', '--out', str(made.folder)]
    monkeypatch.setattr(sys, 'argv', command)
    with made.executor.locked(), pytest.raises(InputError, match='being trained'):
        tool.main()
    assert (made.folder / decision.PLAN).read_bytes() == before
    assert not (made.folder / decision.ANSWER).exists()


def test_a_decision_that_was_killed_gives_the_same_answer(decide, monkeypatch):
    straight = decide('straight')
    laid_out = straight.plan(HOUR)
    straight.train(laid_out, HOUR)
    told = straight.answer(laid_out)

    monkeypatch.setattr(Formula, 'runs_to_live', 7)
    stopped = decide('stopped')
    assert stopped.plan(HOUR) == laid_out
    with pytest.raises(Killed):
        stopped.train(laid_out, HOUR)
    monkeypatch.setattr(Formula, 'runs_to_live', 10_000)
    resumed = decide('stopped')
    assert resumed.plan(HOUR) == laid_out
    resumed.train(laid_out, HOUR)
    again = resumed.answer(laid_out)
    assert again['verdict'] == told['verdict']
    assert again['by_images'] == told['by_images']


def test_the_verdict_says_who_is_ahead(decide, monkeypatch):
    def verdict(ahead):
        monkeypatch.setattr(Formula, 'ahead', ahead)
        made = decide(f'ahead{ahead}')
        laid_out = made.plan(HOUR)
        made.train(laid_out, HOUR)
        content = made.answer(laid_out)
        return content['comparisons'][0]['word'], content['verdict'][0]

    word, text = verdict(12.0)
    assert word == answer.AHEAD
    assert text.startswith("With your 64 images, starting from ImageNet's weights brings 1")
    assert 'AP more (80 % interval) than from random weights, after ' in text
    assert text.endswith('to be as good.')
    word, text = verdict(-12.0)
    assert word == answer.BEHIND
    assert 'starting from random weights brings 1' in text
    assert verdict(0.0)[0] == answer.ALIKE


def test_a_larger_budget_adds_seeds_and_keeps_the_runs(decide):
    made = decide()
    small = made.plan(HOUR)
    made.train(small, HOUR)
    assert made.spent > 0, 'runs that took milliseconds count, too'
    before = {run.label for run in small.runs}
    large = decide().plan(4 * HOUR)
    assert large.seeds > small.seeds
    assert (large.one, large.parts, large.lengths) == (small.one, small.parts, small.lengths)
    assert before < {run.label for run in large.runs}
    assert not {run.label for run in made.executor.missing(large.runs)} & before


def test_the_same_budget_gives_the_same_plan(decide, monkeypatch):
    made = decide()
    laid_out = made.plan(HOUR)
    monkeypatch.setattr(Formula, 'broken', [run.name for run in laid_out.runs])
    made.train(laid_out, HOUR)
    assert decide().plan(HOUR) == laid_out
    # the runs that failed are trained again, and take their time
    assert decide().plan(1.2 * HOUR).seeds <= laid_out.seeds + 1 < plan.MOST_SEEDS


def test_a_larger_budget_first_ends_the_plan_on_a_slow_machine(decide, monkeypatch):
    made = decide()
    small = made.plan(3 * HOUR)
    assert 2 <= small.seeds < plan.MOST_SEEDS
    monkeypatch.setattr(Formula, 'runs_to_live', len(small.runs) // 2)
    with pytest.raises(Killed):
        made.train(small, 3 * HOUR)
    # three hours for less than half
    file = made.folder / decision.PLAN
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(spent=3 * HOUR)))
    assert made.plan(5 * HOUR) == small
    large = made.plan(24 * HOUR)
    assert large.seeds > small.seeds
    assert large.runs[: len(small.runs)] == small.runs, 'what was planned comes first'
    assert made.plan(24 * HOUR) == large


@pytest.mark.parametrize('spent', [1.1, 2.9])
def test_the_budget_that_may_decide_it_gives_these_seeds(tool, decide, spent):
    """Of three hours, after a fast and after a slow machine."""
    made = decide()
    small = made.plan(3 * HOUR)
    made.train(small, 3 * HOUR)
    file = made.folder / decision.PLAN
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(spent=spent * HOUR)))
    found = SimpleNamespace(gap={64: answer.Interval(-1.0, 6.0, 13.0)}, trained_on=64)
    text = answer._remedy(small, found, spent, missing=0, budget=3)
    budget, seeds = re.search(r'--budget (\S+) trains (\d) seeds', text).groups()
    assert int(seeds) == math.ceil(small.seeds * (7 / 6) ** 2) > small.seeds
    assert made.plan(tool.seconds(budget)).seeds == int(seeds)


def test_a_budget_that_was_too_small_can_be_raised(decide, monkeypatch):
    """Steps are probed anew, since the folders with their times are gone."""
    monkeypatch.setattr(Decision, '_probe', PROBE)
    times = [dict(loss=1.0, time=0.5)] * plan.PROBE_ITERATIONS
    monkeypatch.setattr(decision, 'read_scalars', lambda folder: times if folder.is_dir() else [])
    with pytest.raises(InputError, match='the smallest plan that can tell something'):
        decide().plan(60)
    made = decide()
    made.began -= 600
    laid_out = made.plan(HOUR)
    assert 600 <= made.spent < 700, 'the check of the data and the probe'
    assert laid_out.seeds > 1
    assert json.loads((made.folder / decision.PLAN).read_text())['cost']['step'] == {
        'scratch': 0.5,
        'imagenet': 0.5,
    }


def test_what_is_left_of_a_probe_is_probed_anew(decide, monkeypatch):
    monkeypatch.setattr(Decision, '_probe', PROBE)
    times = [dict(loss=1.0, time=0.5)] * plan.PROBE_ITERATIONS
    monkeypatch.setattr(decision, 'read_scalars', lambda folder: times if folder.is_dir() else [])
    made = decide()
    made.plan(HOUR)
    # killed while it removed the folders, and before it wrote the plan
    (made.folder / decision.PLAN).unlink()
    probe = plan.probes(Plan(tuple(made.arms), made.data, 64, (8,), (1,), 100, 1), 2)[0]
    Formula.execute(made.executor, [probe])
    shutil.rmtree(made.executor.folder(probe))
    assert decide().plan(HOUR).seeds > 1


def test_a_probe_ends_with_the_budget(decide, monkeypatch):
    given = []
    monkeypatch.setattr(Decision, '_probe', PROBE)
    monkeypatch.setattr(Formula, 'execute', lambda self, runs, seconds: given.append(seconds))
    made = decide()
    with pytest.raises(InputError, match=r'--budget: 12 iterations .* take longer'):
        made.plan(HOUR)
    assert HOUR - 600 < given[0] < HOUR


def test_what_is_spent_is_kept_while_a_run_is_trained(decide, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(decision, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    made = decide()
    laid_out, spent = made.plan(HOUR), []

    def execute(self, runs, seconds, watch):
        for _ in range(3):
            now[0] += 50
            watch([])
            spent.append(made.spent)

    monkeypatch.setattr(Formula, 'execute', execute)
    made.train(laid_out, HOUR)
    assert spent == [0, 100, 100]
    assert made.spent == 150


def test_what_was_spent_counts_in_later_calls(decide, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(decision, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    made = decide()
    laid_out = made.plan(HOUR)
    left = []

    def execute(self, runs, seconds, watch):
        left.append(seconds)
        now[0] += 600
        raise KeyboardInterrupt

    monkeypatch.setattr(Formula, 'execute', execute)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made.train(laid_out, HOUR)
        assert made.plan(HOUR) == laid_out
    assert left == [3600, 3000]
    assert made.spent == 1200
    later = decide()
    now[0] += 60
    with pytest.raises(KeyboardInterrupt):
        later.train(later.plan(HOUR), HOUR)
    assert later.spent == 1860, 'the check of the data by a later call'


def test_a_budget_that_is_spent_is_told(decide, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(decision, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(answer, 'content', lambda *args: {})
    made = decide()
    laid_out = made.plan(HOUR)
    assert made.answer(laid_out)['needs_budget'] == ''

    def execute(self, runs, seconds, watch):
        now[0] += seconds

    with monkeypatch.context() as patch:
        patch.setattr(Formula, 'execute', execute)
        made.train(laid_out, HOUR)
    # an hour that led to nothing, and what the plan takes by the probe
    needed = made.answer(laid_out)['needs_budget']
    assert 1.8 <= float(needed.removesuffix('h')) <= 2.1
    assert made.plan(2.1 * HOUR)
    assert made.answer(laid_out)['needs_budget'] == ''
    made.plan(HOUR)
    made.train(laid_out, HOUR)
    assert made.answer(laid_out)['needs_budget'] == '', 'nothing is missing'


def test_training_goes_on_if_the_page_cannot_be_written(decide, monkeypatch, capsys):
    monkeypatch.setattr(decision, 'UPDATE_SECONDS', -1)
    made = decide()
    laid_out = made.plan(HOUR)

    def update():
        raise ValueError('no page')

    made.train(laid_out, HOUR, update)
    assert 'could not be written (no page); training goes on' in capsys.readouterr().out
    assert made.executor.missing(laid_out.runs) == []


def test_failed_runs_are_told_until_they_have_a_result(decide, monkeypatch):
    monkeypatch.setattr(decision, 'UPDATE_SECONDS', -1)
    monkeypatch.setattr(answer, 'content', lambda *given: dict(lost=given[3]))
    made = decide()
    laid_out = made.plan(HOUR)
    broken = laid_out.runs[-1]
    monkeypatch.setattr(Formula, 'broken', [broken.name])
    told = {f'{broken.name}_seed{seed}': 'no memory' for seed in range(laid_out.seeds)}
    seen = []
    made.train(laid_out, HOUR, lambda: seen.append(made.failed))
    assert seen[-1] == told
    again = decide()
    content = again.answer(again.plan(HOUR))
    assert content['failed'] == told, 'of an earlier call'
    assert content['lost'] == laid_out.seeds
    monkeypatch.setattr(Formula, 'broken', [])
    again.train(laid_out, HOUR)
    assert again.failed == {}
    # the call was killed before it told of the end
    kept = json.loads((again.folder / decision.PLAN).read_text())
    (again.folder / decision.PLAN).write_text(json.dumps(kept | dict(failed=told)))
    assert again.failed == {}


def test_another_question_needs_another_folder(decide, tmp_path):
    decide().plan(HOUR)
    with pytest.raises(InputError, match=r'plan.json: .* another arms; .*--out'):
        decide(names=('imagenet', 'scratch')).plan(HOUR)
    with pytest.raises(InputError, match='another scale'):
        decide(scale=0.5).plan(HOUR)
    with pytest.raises(InputError, match='another images'):
        decide(upto=32).plan(HOUR)
    with pytest.raises(InputError, match='--images 65: give 16 to 64'):
        decide(upto=65)
    with pytest.raises(InputError, match='--scale 0: give a number above 0'):
        decide(scale=0)


def test_images_without_objects_are_left_out(decide, data, tmp_path):
    copied = tmp_path / 'copied'
    shutil.copytree(data, copied)
    file = copied / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != first]
    file.write_text(json.dumps(content))
    assert decide(root=copied).plan(HOUR).parts[-1] == 63


def test_corrected_labels_and_replaced_images_are_other_data(decide, make_voc):
    folder = make_voc() / 'VOC2012'
    image, xml = folder / 'JPEGImages/2008_000008.jpg', folder / 'Annotations/2008_000008.xml'
    before = decide(root=folder).data
    assert decide(root=folder).data == before
    xml.write_text(xml.read_text().replace('<xmax>50<', '<xmax>49<'))
    corrected = decide(root=folder).data
    assert corrected != before
    pixels = cv2.imread(str(image))
    cv2.imwrite(str(image), pixels[::-1])
    assert decide(root=folder).data != corrected


def test_pre_training_on_validation_images_is_told(decide, data, make_voc, tmp_path):
    def warned(root, *names):
        report = decide(root=root, names=names).reports[-1]
        return [note for note in report.notes if 'own pre-trains without labels' in note]

    voc = make_voc() / 'VOC2012'
    assert warned(voc, 'scratch', 'own')
    assert not warned(voc, 'scratch', 'imagenet')
    assert not warned(data, 'scratch', 'own')
    one = tmp_path / 'one'
    shutil.copytree(data, one)
    shutil.copytree(one / 'val', one / 'train' / 'val')
    file = one / 'annotations' / 'instances_val.json'
    content = json.loads(file.read_text())
    for row in content['images']:
        row['file_name'] = f'../train/val/{row["file_name"]}'
    file.write_text(json.dumps(content))
    assert not layouts.are_apart(one)


def test_the_ap_of_a_folder_in_voc_layout():
    assert answer.ap_of(dict(history=[dict(voc_mAP=0.25, voc_AP50=0.5)])) == 25


def test_a_damaged_plan_is_told(decide, tmp_path):
    decide().plan(HOUR)
    (tmp_path / 'out' / decision.PLAN).write_text('{"question"')
    with pytest.raises(InputError, match=r'plan.json: cannot be read .* remove it'):
        decide().plan(HOUR)


def test_parts_up_to_a_number_answer_for_all_images(decide):
    made = decide(upto=32)
    laid_out = made.plan(HOUR)
    assert laid_out.parts[-1] == 32
    made.train(laid_out, HOUR)
    content = made.answer(laid_out)
    [comparison] = content['comparisons']
    assert set(comparison['gap']) >= {32, 64, 128, 640}
    assert content['verdict'][0].startswith('With your 64 images (trained on 32 of them at most), ')
    kept = json.loads((made.folder / decision.ANSWER).read_text())
    assert Plan.of_file(kept, made.arms, made.data) == laid_out


def test_nothing_is_said_before_each_arm_has_a_run(decide, monkeypatch):
    made = decide()
    laid_out = made.plan(HOUR)
    content = made.answer(laid_out)
    assert content['verdict'] == content['comparisons'] == []


def test_two_initializations_are_compared_by_one_command(
    tool, data, tmp_path, monkeypatch, capsys, forked_runs
):
    """The tool with real training, of four iterations a run."""
    monkeypatch.setattr(plan, 'CHOICES', ((1, 1, (1, 2)),))
    monkeypatch.setattr(plan, 'ENOUGH', 1.0)
    monkeypatch.setattr(plan, 'MOST_SEEDS', 1)
    monkeypatch.setattr(plan, 'MOST_ITERATIONS', 1)
    monkeypatch.setattr(plan, 'PROBE_ITERATIONS', 3)
    monkeypatch.setattr(plan, 'PLANNED', 1.0)
    monkeypatch.setattr(plan, 'lay_out', shortest(plan.lay_out))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    command = ['decide.py', '--data', str(data), '--budget', '1h', '--out', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', command)
    with forked_runs():
        tool.main()
    told = capsys.readouterr().out
    assert 'With your 64 images' in told
    content = json.loads((tmp_path / 'out' / 'decide.json').read_text())
    assert len(content['runs']) == 4, 'two lengths of two initializations'
    assert {row['iterations'] for row in content['observations']} == {6, 12}
    assert content['comparisons'][0]['trained_on'] == 8
    assert content['failed'] == {}
    assert (tmp_path / 'out' / 'index.html').is_file()


def shortest(lay_out):
    """The plan as if the config had twelve iterations."""
    return lambda *args: lay_out(*args[:4], 12, *args[5:])

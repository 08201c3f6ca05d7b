"""The calibration of decide: its data sets, its plan, its verdicts, from made-up runs."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mmscratch.errors import InputError
from mmscratch.study import page
from mmscratch.study.calibration import STUDY, data, judges, plan, schedules
from mmscratch.study.claim import Study
from mmscratch.study.decide.answer import Interval
from mmscratch.study.verdict import FAILS, HOLDS, OPEN

ROOT = Path(__file__).resolve().parents[2]


def test_the_data_sets_differ():
    assert len(data.DRAWN) == 20
    assert len({drawn.shapes for drawn in data.DRAWN.values()}) == 20
    assert len({drawn.images for drawn in data.DRAWN.values()}) > 2
    assert len({data.of(name).recipe for name in data.DRAWN}) == 20


def test_decide_sees_a_quarter_of_the_images_and_the_truth_has_all():
    for kind in plan.KINDS:
        for name, question in plan.questions(kind).items():
            images = data.images(kind)[name]
            assert question.seen.parts[-1] == round(images / 4)
            assert question.truth.parts == (images,)
            assert question.seen.images == images, 'what it predicts for'


def made_up(gap, bend: float = 0.0):
    """Runs of two drawn data sets. At all images the gap is ``bend`` more than the law says."""
    results = {}
    for name in ('drawn00', 'drawn01'):
        question = plan.questions('drawn')[name]
        for each in (question.seen, question.truth):
            for run in each.runs:
                part, arm, _ = run.name.split('_')
                ap = 100 * (1 - 0.8 * (int(part) / each.images) ** -0.1 + 0.2)
                if arm != 'scratch':
                    ap += gap + bend * (each is question.truth)
                row = dict(iterations=200, history=[dict(bbox_mAP=(ap + run.seed) / 100)])
                results.setdefault(f'{name}_{run.name}', []).append(row)
    return results


def test_intervals_hold_what_follows_the_law():
    verdict = judges.covers(made_up(5.0), 'drawn')
    assert verdict.word == HOLDS
    assert verdict.numbers.startswith('2 of 2 intervals')
    assert judges.covers(made_up(5.0, bend=30), 'drawn').word == FAILS


def test_few_intervals_are_no_proof_against_their_coverage(monkeypatch):
    """2 of 3 happen in half of all cases to intervals that hold 80 %, 4 of 10 in less than 1 %."""
    [right, wrong] = [
        judges.Prediction('data', 100, 'pretrained', Interval(-1, 0, 1), 0.5, gap, (0, 1), 1.4)
        for gap in (0.0, 9.0)
    ]
    for held, missed, word in ((2, 1, OPEN), (4, 6, FAILS), (7, 3, HOLDS)):
        found = [right] * held + [wrong] * missed
        monkeypatch.setattr(judges, 'predictions', lambda *_, found=found: found)
        assert judges.covers({}, 'drawn').word == word


def test_a_misfit_is_tested_on_data_sets_that_had_no_part_in_its_choice(monkeypatch):
    """One data set is far off. With it a large misfit is likely, without it none."""
    found = [
        judges.Prediction('data', 100, 'pretrained', Interval(-8, 0, 8), 0.5, gap, (0, 1), 1.4)
        for gap in (0.1, -0.2, 0.3, 7.0)
    ]
    monkeypatch.setattr(judges, 'predictions', lambda *_: found)
    numbers = judges.covers_with_chosen_misfit({}, 'drawn').numbers
    assert numbers.startswith('4 of 4 intervals')
    likeliest = float(re.search(r'The most likely misfit is (.+) AP;', numbers)[1])
    # four gaps of 0.1, 0.2, 0.3 and 7.0 deviate by 3.5, the fit by 1 and the misfit by 1.4 times it
    assert likeliest == pytest.approx((3.5**2 - 1) ** 0.5 / 1.4, abs=0.1)
    assert numbers.endswith('0.0 to 2.8 AP, 3 of 4 intervals contain the gap')


def test_rules_that_look_at_no_run_are_wrong_where_scratch_is_ahead():
    verdict = judges.signs(made_up(-8.0), 'drawn')
    assert verdict.word == HOLDS
    assert 'decide is right in 100 %' in verdict.numbers
    assert verdict.numbers.endswith('where decide is sure to 90 %, it is right in 2 of 2')
    assert 'always pre-train is right in 0 %, Brier score 1.000' in verdict.numbers
    # with all of them right nobody is better
    assert judges.signs(made_up(8.0), 'drawn').word == FAILS


def test_the_table_has_a_row_a_prediction():
    rows = judges.table(made_up(5.0), 'drawn').splitlines()
    assert len(rows) == 2 + 2
    assert '| yes |' in rows[2]
    assert all(row.count('|') == rows[0].count('|') for row in rows)


def test_parts_of_the_boards_tell_of_all():
    found = judges.of_boards()
    assert [each.data for each in found] == ['deeppcb, 1x', 'deeppcb, 2x', 'deeppcb, 4x']
    assert found[2].measured == pytest.approx(12.3, abs=0.1), "the study's table says so"
    assert all(each.images == 1000 and each.gap.low < each.gap.high for each in found)


def test_a_claim_of_which_runs_are_missing_shows_the_rows_that_are_there(tmp_path):
    question = plan.questions('drawn')['drawn00']
    names = {f'drawn00_{run.name}' for p in (question.seen, question.truth) for run in p.runs}
    (tmp_path / page.RUNS).mkdir()
    for run in (*plan.runs(0, 'drawn'), *plan.runs(1, 'drawn')):
        if run.name in names:
            history = [dict(bbox_mAP=0.3)]
            row = dict(iterations=160, begin=0, key=run.key, history=history, train_seconds=1)
            (tmp_path / page.RUNS / f'{run.label}.json').write_text(json.dumps(row))
    page.write(tmp_path, replace(STUDY, claims=STUDY.claims[:2]))
    text = (tmp_path / 'README.md').read_text()
    assert 'on drawn data sets | not run yet |' in text
    assert text.count('| drawn00 | ') == 1, 'of claim 1'

    # one seed of the truth is missing
    next((tmp_path / page.RUNS).glob('drawn00_160_scratch_4x_seed1.json')).unlink()
    page.write(tmp_path, replace(STUDY, claims=STUDY.claims[:2]))
    assert '| drawn00 | ' not in (tmp_path / 'README.md').read_text()


def test_one_seed_of_all_runs_is_told():
    one = {name: rows[:1] for name, rows in made_up(5.0).items()}
    for judge in (judges.covers, judges.covers_with_chosen_misfit, judges.signs):
        assert judge(one, 'drawn') == judges.NOTHING


@pytest.fixture
def boards(tmp_path, monkeypatch) -> None:
    """A decision saw 50 and 100 of 400 images, where pretrained leads by 8 AP after 2x."""
    said = dict(
        question=dict(
            arms=[asdict(arm) for arm in plan.KINDS['drawn'].arms], data='digests', scale=None
        ),
        folders=dict(data='data/boards'),
        **dict(images=400, parts=[50, 100], lengths=[1, 2], one=100, seeds=2, added=0),
        observations=[
            dict(arm=arm, images=images, iterations=100 * n, ap=aps[n] + images / 50 + seed)
            for arm, aps in (('scratch', {1: 5, 2: 20}), ('pretrained', {1: 25, 2: 28}))
            for images in (50, 100)
            for n in (1, 2)
            for seed in (0, 1)
        ],
        comparisons=[
            dict(arm='pretrained', gap={'400': dict(low=6.5, middle=8.1, high=9.9)}, sure=0.97)
        ],
    )
    (tmp_path / 'boards.json').write_text(json.dumps(said))
    monkeypatch.setattr(plan, 'DECISIONS', tmp_path)
    monkeypatch.setattr(plan, 'decided', plan.decided.__wrapped__)


@pytest.mark.usefixtures('boards')
def test_a_whole_decision_is_tested_with_all_images():
    runs = [*plan.runs_of_decisions(0), *plan.runs_of_decisions(1)]
    assert {run.name for run in runs} == {'boards_400_scratch_2x', 'boards_400_pretrained_2x'}
    assert all(run.iterations == 200 and run.data.recipe == 'digests' for run in runs)
    results = {
        f'boards_400_{arm}_2x': [
            dict(history=[dict(bbox_mAP=(ap + seed) / 100)]) for seed in (0, 1)
        ]
        for arm, ap in (('scratch', 25), ('pretrained', 33))
    }
    [found] = judges.of_decisions(results)
    assert (found.data, found.images, found.measured) == ('boards', 400, pytest.approx(8))
    assert (found.gap.middle, found.sure) == (8.1, 0.97), 'what it said'
    assert found.fitted[0] == pytest.approx(8, abs=2), 'of 2x, not of 1x'
    assert judges.covers_decisions(results).word == HOLDS
    assert '| boards | 400 | pretrained |' in judges.table_of_decisions(results)
    results['boards_400_scratch_2x'].pop()
    assert judges.of_decisions(results) == []


@pytest.mark.usefixtures('boards')
def test_images_of_a_decision_have_to_be_there():
    with pytest.raises(InputError, match='data/boards: no such folder; make data/boards'):
        data.prepare({run.data for run in plan.runs_of_decisions(0)}, workers=1)


def test_schedules_are_told_from_shorter_ones():
    found = schedules.predictions()
    assert {each.study for each in found} == {'miniature', 'real'}
    for each in found:
        assert each.seen[-1] < each.length <= 2 * each.seen[-1]
    told = next(each for each in found if each.data == 'all' and each.seen == (1, 2, 3, 4))
    assert told.length == 5
    assert told.measured_scratch == pytest.approx(47.2, abs=0.1), "the study's table says so"
    assert 0 < told.gap.high - told.gap.low < 6
    assert told.scratch.holds(told.measured_scratch)


def numbers_apart(text: str) -> tuple[list[str], list[float]]:
    number = re.compile(r'[-+]?\d+\.\d+')
    return number.split(text), [float(each) for each in number.findall(text)]


def test_the_committed_page_follows_from_its_runs(tmp_path):
    folder = ROOT / 'results' / STUDY.name
    (tmp_path / page.RUNS).mkdir()
    for file in (folder / page.RUNS).glob('*.json'):
        (tmp_path / page.RUNS / file.name).symlink_to(file)
    page.write(tmp_path, STUDY)
    words, numbers = numbers_apart((tmp_path / 'README.md').read_text())
    committed_words, committed = numbers_apart((folder / 'README.md').read_text())
    assert words == committed_words
    # another processor rounds a fit otherwise
    assert numbers == pytest.approx(committed, abs=0.3)


def test_it_is_a_study():
    assert isinstance(STUDY, Study)
    assert {claim.table for claim in STUDY.claims} == set(STUDY.tables)

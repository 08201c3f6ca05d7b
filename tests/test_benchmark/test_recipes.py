"""What a recipe costs: stages, seconds, multiply-adds, tables."""

from pathlib import Path

import pytest
from mmengine.config import Config

import mmscratch.register_all  # noqa: F401
from mmscratch.benchmark import recipes

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def config(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_stages_are_those_of_the_image_sizes():
    assert recipes.stages(config('scratch/mask_rcnn_r50_gn_6x')) == [(0, 540_000)]
    fast = config('scratch/mask_rcnn_r50_gn_fast')
    assert recipes.stages(fast) == [(0, 72_000), (72_000, 156_000)]


def test_each_stage_has_a_turn_in_each_round(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, 'STEPS', 1)
    [*_, numbers] = recipes.measure(tmp_path, tiny=True, rounds=2)
    assert list(numbers['steps']) == ['6x 0', 'fast 0', 'fast 180']
    assert [n['steps'] for n in numbers['steps'].values()] == [1350, 180, 210]
    assert all(len(n['seconds']) == 2 and min(n['seconds']) > 0 for n in numbers['steps'].values())


NUMBERS = {
    '6x 0': dict(steps=100, seconds=[1.0, 2.0, 1.0]),
    'fast 0': dict(steps=20, seconds=[0.5, 1.0, 1.0]),
    'fast 20': dict(steps=10, seconds=[2.0, 4.0, 2.0]),
}


def test_a_run_is_the_sum_of_its_stages():
    runs = recipes.seconds_of_runs(NUMBERS)
    assert runs == {'6x': [100, 200, 100], 'fast': [30, 60, 40]}
    assert recipes.rows(dict(steps=NUMBERS))[1:] == [
        ['6x', '100', '100', '200'],
        ['fast', '40', '30', '60'],
    ]


def test_rows():
    def run(seed: int, ap: float) -> dict:
        ap = dict(bbox_mAP=ap, segm_mAP=ap / 2)
        return dict(ap, recipe='fast', seed=seed, iterations=30, images_seen=1240)

    measured = dict(steps=NUMBERS, runs={'fast, chosen': [run(0, 0.4), run(3, 0.5)]})
    assert recipes.run_rows(measured)[1] == [
        *('fast, chosen', '0, 3', '30', '1,240'),
        *('45.0 (40.0 to 50.0)', '22.5 (20.0 to 25.0)', '0.30 (0.30 to 0.40)'),
    ]
    longer = dict(run(0, 0.5), iterations=60)
    assert recipes.run_rows(dict(measured, runs=dict(longer=[longer])))[1][-1] == (
        '0.60 (0.60 to 0.80)'
    )
    tried = [dict(recipe='SGD', iterations=9, bbox_mAP=23.8, segm_mAP=19.5, verdict='dropped')]
    assert recipes.tried_rows(dict(tried=tried))[1] == ['SGD', '9', '-', '23.8', '19.5', 'dropped']


def test_smaller_images_and_fewer_steps_cost_less():
    whole, fast = (config(f'scratch/mask_rcnn_r50_gn_{name}') for name in ('6x', 'fast'))
    full = recipes.training_multiply_adds(fast)
    # only the shares of the stages change: 600 x 1000 and 800 x 1333 are 608 x 1024, 800 x 1344
    steps = recipes.progressive_resizes(fast)[0]
    steps['scales'], steps['begins'] = [(1333, 800)], [0]
    at_full_size = recipes.training_multiply_adds(fast)
    assert full < at_full_size
    assert at_full_size / recipes.training_multiply_adds(whole) == pytest.approx(156 / 540)

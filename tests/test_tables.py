"""The tables' making, on small ones; test_tools.py checks that the committed ones are fresh."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from mmscratch.benchmark.speed import METRICS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tables():
    """tools/tables.py as a module, with caches of its own."""
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'tools/tables.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path, tables, monkeypatch) -> Path:
    """A checkout with two configs, their twins but one, and nothing measured but speed."""
    for name in ('scratch/a', 'pretrained/a', 'scratch/b'):
        file = tmp_path / 'configs' / f'{name}.py'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('train_cfg = dict(max_iters=600)\n')
    (tmp_path / 'results/speed').mkdir(parents=True)
    speed = [
        dict(zip(METRICS, values)) for values in ((1.5, 1200.4, 3), (2.5, 1100, 4), (1, 1e3, 5))
    ]
    (tmp_path / 'results/speed/dsod_ssd.json').write_text(json.dumps(dict(rounds=dict(a=speed))))
    measured = dict(not_loaded={'c': 'package x'}, models=[])
    (tmp_path / 'results/mmdet_configs.json').write_text(json.dumps(measured))
    sizes = dict(part='val', images=5000, n_detections=500000)
    costs = dict(part='val', kind='segm', cpu_seconds=1.5, memory_mb=1200.4)
    runs = [('pycocotools', 60, 10, 0), ('pycocotools', 80, 20, 0), ('mmscratch', 4, 2, 1e-17)]
    measured = dict(
        drawn=[sizes],
        runs=[
            dict(costs, evaluator=name, seconds=seconds, load_seconds=load, difference=difference)
            for name, seconds, load, difference in runs
        ],
    )
    for name in ('evaluation', 'evaluation_val'):
        (tmp_path / f'results/speed/{name}.json').write_text(json.dumps(measured))
    timed = dict(steps={'6x 0': dict(steps=6, seconds=[2.0])})
    (tmp_path / 'results/speed/recipes.json').write_text(json.dumps(timed))
    fast = dict(
        runs={
            'six': [dict(recipe='6x', seed=0, iterations=6, images_seen=8, bbox_mAP=1, segm_mAP=1)]
        },
        tried=[dict(recipe='a', iterations=1, verdict='kept')],
    )
    (tmp_path / 'results/speed/fast.json').write_text(json.dumps(fast))
    tried = dict(readers={'COCO': dict(read=1, refused=2000, other=0)})
    (tmp_path / 'results/tiles').mkdir()
    (tmp_path / 'results/tiles/tiles.json').write_text(json.dumps(dict(found={})))
    (tmp_path / 'results/reliability').mkdir()
    (tmp_path / 'results/reliability/fuzz.json').write_text(json.dumps(tried))
    # their rows have tests of their own
    monkeypatch.setattr(tables, 'long_run_table', str)
    monkeypatch.setattr(tables, 'demo_table', str)
    monkeypatch.setattr(tables, 'reliability_table', str)
    monkeypatch.setattr(tables, 'suite_table', lambda name, make: name)
    monkeypatch.setattr(tables.recipes, 'cost_rows', lambda files: [['config', *'abc']])
    (tmp_path / 'model-index.yml').write_text('Import: [configs/scratch/metafile.yml]\n')
    index(tmp_path, [entry('scratch/a'), entry('pretrained/a'), entry('scratch/b')])
    monkeypatch.setattr(tables, 'ROOT', tmp_path)
    for name, begin, _ in tables.tables():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text() if file.exists() else 'Text above.\n'
        file.write_text(f'{text}{begin}\n{tables.END}\nText below.\n')
    monkeypatch.setattr(tables, 'config_cells', lambda cfg: ['1.00', '2.0', '8', '600', '1', '2'])
    return tmp_path


def entry(name: str, paper: str = 'Table 1', **more) -> dict:
    return {'Name': name, 'Config': f'configs/{name}.py', 'In Paper': paper, **more}


def index(checkout: Path, entries: list[dict]) -> None:
    (checkout / 'configs/scratch/metafile.yml').write_text(yaml.safe_dump({'Models': entries}))


def run(tables, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['tables.py', *arguments])
    tables.main()


def rows(table: str) -> list[list[str]]:
    """Cells of each row, without header and rule."""
    return [[cell.strip() for cell in row.split('|')[1:-1]] for row in table.splitlines()[2:]]


def test_twins_share_a_row_and_a_label_is_written_once(tables, checkout):
    [a, b] = rows(tables.configs_table('scratch'))
    links = 'a: [scratch](a.py), [pre-trained](../pretrained/a.py)'
    assert a[:3] == ['Table 1', links, '1.00']
    assert b[:2] == ['', 'b: [scratch](b.py)']


def test_speeds_are_medians_with_lowest_and_highest(tables, checkout):
    [row] = rows(tables.speed_table())
    assert row == ['a', '1.5 (1 to 2.5)', '1,100 (1,000 to 1,200)', '4 (3 to 5)']


def test_evaluations_have_ratios_to_pycocotools(tables, checkout):
    what = 'segm: 5,000 images, 500,000 found'
    table = [
        [what, 'pycocotools', '70.00', '60.00', '80.00', '1.0', '1.0', '1.50', '1,200', '0'],
        [what, 'mmscratch', '4.00', '4.00', '4.00', '17.5', '27.5', '1.50', '1,200', '1e-17'],
    ]
    assert rows(tables.evaluation_table()) == 2 * table  # of both files


def test_the_demo_stands_beside_that_of_before(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, 'ROOT', tmp_path)
    last = dict(iteration=9, train_seconds=90, bbox_mAP=0.5, segm_mAP=0.4)
    for name in ('demo/seed0', 'demo/seed1', 'speed/demo_before'):
        file = tmp_path / f'results/{name}.json'
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(json.dumps(dict(seed=int(name == 'demo/seed1'), last=last)))
    assert rows(tables.demo_table()) == [
        ['before', '0', '9', '50.0', '40.0', '1.5'],
        ['today', '0, 1', '9', '50.0 (50.0 to 50.0)', '40.0 (40.0 to 40.0)', '1.5 (1.5 to 1.5)'],
    ]


def test_twins_that_train_differently_have_two_rows(tables, checkout, monkeypatch):
    cells = iter((['1'] * 6, ['2'] * 6, ['3'] * 6))
    monkeypatch.setattr(tables, 'config_cells', lambda cfg: next(cells))
    assert [row[2] for row in rows(tables.configs_table('scratch'))] == ['1', '2', '3']


def test_table_follows_the_order_of_the_index(tables, checkout):
    index(
        checkout,
        [entry('scratch/b'), entry('scratch/a', 'Figure 4'), entry('pretrained/a', 'Figure 4')],
    )
    found = [(row[0], row[1].partition(':')[0]) for row in rows(tables.configs_table('scratch'))]
    assert found == [('Table 1', 'b'), ('Figure 4', 'a')]


def test_check_finds_what_is_stale_and_writes_nothing(tables, checkout, monkeypatch):
    before = {name: (checkout / name).read_text() for name, *_ in tables.tables()}
    folders = (
        'results/sensors/',
        'results/tiles/',
        'results/reliability/',
        'configs/dsod/',
        'results/speed/',
    )
    readmes = [f'{folder}README.md' for folder in (*folders, 'configs/scratch/')]
    files = re.escape(' and '.join(['README.md', 'docs/mmdetection.md', *readmes]))
    with pytest.raises(SystemExit, match=f'stale table in {files}:'):
        run(tables, monkeypatch, '--check')
    assert before == {name: (checkout / name).read_text() for name in before}

    run(tables, monkeypatch)
    run(tables, monkeypatch, '--check')
    text = (checkout / 'configs/scratch/README.md').read_text()
    assert text.startswith('Text above.\n')
    assert text.count('Text below.\n') == 2  # one a table
    assert text.count('[scratch](a.py)') == 1

    (checkout / 'README.md').write_text((checkout / 'README.md').read_text().replace('seeds', 's'))
    with pytest.raises(SystemExit, match=r'stale table in README\.md:'):
        run(tables, monkeypatch, '--check')


def test_reported_numbers_have_source_and_remark(tables, checkout):
    table = {'Source': 'paper, Table 2', 'box AP': 41.3, 'box AP50': 61.8, 'box AP75': 45.6}
    others = {'Source': 'Detectron, GN, 5', 'box AP': 39.0, 'mask AP': 35.2, 'Remark': 'frozen'}
    paper = {'Source': 'paper, Table 1', 'box AP': 40.0}
    index(
        checkout,
        [
            entry('scratch/a', Reported=[table]),
            entry('pretrained/a', Reported=[paper, others]),
            entry('scratch/b'),
        ],
    )
    # nothing is reported for b, and nothing was measured here: no row, no column
    assert rows(tables.reported_table('scratch')) == [
        [
            'a',
            'box 41.3 (61.8, 45.6) (Table 2)',
            'box 40.0 (Table 1)',
            'pre-trained: box 39.0, mask 35.2 (Detectron, GN, 5; frozen)',
        ]
    ]


def test_our_numbers_are_the_mean_of_the_seeds(tables, checkout):
    folder = checkout / 'results/mine'
    folder.mkdir()
    for seed, ap in enumerate((0.40, 0.42)):
        run = dict(config='configs/pretrained/a.py', seed=seed, images_seen=4800, hardware='a CPU')
        run['last'] = dict(bbox_mAP=ap, keypoints_mAP=ap / 2, train_seconds=60)
        (folder / f'seed{seed}.json').write_text(json.dumps(run))
    [row] = rows(tables.reported_table('scratch'))
    # of a's pre-trained twin, not of scratch/a
    assert row == ['a', 'pre-trained: box 41.0, keypoint 20.5 ([mine](../../results/mine))']
    [row] = rows(tables.results_table())
    # no column for masks, which no run has
    aps = ['41.0 (40.0 to 42.0)', '20.5 (20.0 to 21.0)']
    assert row[1:] == ['a', '0, 1', '4,800', *aps, '1.0 (1.0 to 1.0)', 'a CPU']


def test_cells_of_a_config(tables):
    cfg = Config.fromfile(ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    cells = tables.config_cells(cfg)
    # at 256 x 384, the size at which it is tested; parameters as results/demo has them
    assert cells[0] == '3.99'
    assert 4 < float(cells[1]) < 5
    assert cells[2:] == ['8', '600', '0.01333, 0.004, 0.004, 0.0004', '360, 520']


def test_the_package_is_small_enough_to_be_found_through(tables):
    entries = [p for p in (ROOT / 'mmscratch').iterdir() if p.name != '__pycache__']
    assert len([p for p in entries if p.suffix == '.py' or (p / '__init__.py').exists()]) <= 16
    rows = tables.layout_table().splitlines()
    assert len(rows) == 2 + 15
    assert all(row.count('|') == 3 and len(row) < 110 for row in rows)

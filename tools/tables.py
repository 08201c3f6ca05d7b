"""Write the tables of the READMEs: configs, results, parts of the package.

    python tools/tables.py            # write them
    python tools/tables.py --check    # write nothing; exit 1 if one is stale (make test does this)

The README beside each metafile of model-index.yml lists the configs of that metafile in its order,
and what others report for them. README.md lists the runs of results/: the metrics.json of a row's
seeds are results/NAME/seed*.json. tools/analysis/benchmark.py wrote most of results/speed/, and
tools/analysis/mmdet_configs.py results/mmdet_configs.json. The table of the package has the first
line of each part.
"""

import argparse
import ast
import functools
import json
import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import mmengine.config.utils
import torch
from mmengine.config import Config, ConfigDict

import mmscratch
from mmscratch.benchmark import (
    cpu_steps,
    evaluation,
    loading,
    long_run,
    model_trial,
    recipes,
    start,
    steps,
    torture,
)
from mmscratch.benchmark.complexity import detector_multiply_adds
from mmscratch.benchmark.speed import speed_rows
from mmscratch.config.learning_rate import learning_rate
from mmscratch.study import page, real
from mmscratch.study.page import markdown
from mmscratch.study.real import summary
from mmscratch.study.seed_statistics import spread
from mmscratch.weights.publish import METAFILE

ROOT = Path(__file__).resolve().parents[1]
END = '<!-- end of table -->'
# folder of configs/ -> how a table calls their initial weights, if not 'scratch'
WEIGHTS = {'pretrained': 'pre-trained'}
# what a table calls it -> in metrics.json
MEASURED = {name.removesuffix(' AP'): key for key, (_, name) in METAFILE.items()}


@functools.cache
def load_yaml(path: Path | str) -> dict[str, Any]:
    return mmengine.fileio.load(path)


def configs_table(readme: str) -> str:
    """One row a config and its twin: where in the paper, size, schedule."""
    header = ['in the paper', 'config', 'parameters (M)', 'multiply-adds (G)', 'images a step']
    header += ['iterations', 'lr at 0, 499, first drop, end', 'lr drops at']
    # each mmdet:: base makes mmengine read all of MMDetection's metafiles, one second a config
    mmengine.config.utils.load = load_yaml
    rows = []
    models = load_yaml(ROOT / 'configs' / readme / 'metafile.yml')['Models']
    for paper, entries in groupby(models, key=lambda entry: entry['In Paper']):
        twins: dict[tuple[str, ...], list[str]] = {}
        for entry in entries:
            folder, name = entry['Name'].split('/')
            cells = config_cells(Config.fromfile(ROOT / entry['Config']))
            path = f'{name}.py' if folder == readme else f'../{folder}/{name}.py'
            twins.setdefault((name, *cells), []).append(
                f'[{WEIGHTS.get(folder, "scratch")}]({path})'
            )
        for (name, *cells), links in twins.items():
            # a label is written once for all of its rows
            rows.append([paper, f'{name}: {", ".join(links)}', *cells])
            paper = ''
    return markdown([header, *rows], 'llrrrrll')


def config_cells(cfg: Config) -> list[str]:
    """What the config builds and how it trains."""
    model = json.dumps(cfg.model.to_dict(), sort_keys=True)
    parameters, multiply_adds = model_size(model, *test_size(cfg))
    drops = cfg.param_scheduler[-1].get('milestones', [])
    iterations = cfg.train_cfg.max_iters
    rates = [learning_rate(cfg, i) for i in (0, 499, *drops[:1], iterations - 1)]
    return [
        f'{parameters / 1e6:.2f}',
        f'{multiply_adds / 1e9:,.1f}',
        f'{cfg.auto_scale_lr.base_batch_size}',
        f'{iterations:,}',
        ', '.join(f'{rate:.4g}' for rate in rates),
        ', '.join(f'{drop:,}' for drop in drops) or 'linear to zero',
    ]


def test_size(cfg: Config) -> tuple[int, int]:
    """Height and width of a wide image as it is resized for testing."""
    steps = cfg.val_dataloader.dataset.pipeline
    [(width, height)] = [step.scale for step in steps if step.type in ('Resize', 'ShrinkToFit')]
    return height, width


@functools.cache
def model_size(model: str, height: int, width: int) -> tuple[int, int]:
    """Parameters and multiply-adds on one image, of a model's config as JSON; many share one."""
    from mmdet.registry import MODELS

    with torch.device('meta'):
        detector = MODELS.build(ConfigDict(json.loads(model)))
    return (
        sum(parameter.numel() for parameter in detector.parameters()),
        sum(detector_multiply_adds(detector, height, width).values()),
    )


def reported_table(readme: str) -> str:
    """One row a config and its twin for which there are numbers: the paper's, others', ours.

    A column without a number in any row is left out.
    """
    twins: dict[str, dict[str, list[str]]] = {}
    columns = ('paper, scratch', 'paper, pre-trained', 'others', 'here')
    for entry in load_yaml(ROOT / 'configs' / readme / 'metafile.yml')['Models']:
        folder, name = entry['Name'].split('/')
        weights = WEIGHTS.get(folder, 'scratch')
        row = twins.setdefault(name, {column: [] for column in columns})
        for result in entry.get('Reported', []):
            who, _, where = result['Source'].partition(', ')
            source = [where if who == 'paper' else result['Source'], result.get('Remark')]
            text = f'{numbers(result)} ({"; ".join(filter(None, source))})'
            if who == 'paper':
                row[f'paper, {weights}'].append(text)
            else:
                row['others'].append(f'{weights}: {text}')
        row['here'] += [f'{weights}: {text}' for text in measured(entry['Config'])]
    used = [column for column in columns if any(row[column] for row in twins.values())]
    rows = [[name, *('<br>'.join(row[column]) for column in used)] for name, row in twins.items()]
    header = ['config', *used]
    return markdown([header, *(row for row in rows if any(row[1:]))], 'l' * len(header))


def numbers(result: dict[str, Any]) -> str:
    """Such as ``box 41.3 (61.8, 45.6), mask 36.6 (59.0, 38.9)``: AP, and AP50 and AP75 if known."""
    texts = []
    for key in result:
        if key.endswith(' AP'):
            finer = [f'{result[key + iou]:.1f}' for iou in ('50', '75') if key + iou in result]
            text = f'{key.removesuffix(" AP")} {result[key]:.1f}'
            texts.append(text + (f' ({", ".join(finer)})' if finer else ''))
    return ', '.join(texts)


def measured(config: str) -> list[str]:
    """What the runs in results/ of this config reached."""
    texts = []
    for folder, runs in results():
        if runs[0]['config'] == config:
            values = {kind: percent(runs, key) for kind, key in MEASURED.items()}
            text = ', '.join(f'{kind} {mean(v):.1f}' for kind, v in values.items() if v)
            texts.append(f'{text} ([{folder.name}](../../results/{folder.name}))')
    return texts


def results() -> list[tuple[Path, list[dict[str, Any]]]]:
    """The folders of results/ and the metrics.json of their runs."""
    folders = sorted(path for path in (ROOT / 'results').iterdir() if path.is_dir())
    runs = [[json.loads(f.read_text()) for f in sorted(d.glob('seed*.json'))] for d in folders]
    return [(folder, of_folder) for folder, of_folder in zip(folders, runs) if of_folder]


def percent(runs: list[dict[str, Any]], key: str) -> list[float]:
    """The last value of each run that has it, in percent."""
    return [100 * run['last'][key] for run in runs if key in run['last']]


def results_table() -> str:
    """One row a folder of results/: mean over its seeds, lowest and highest."""
    found = results()
    kinds = [kind for kind, key in MEASURED.items() if any(percent(runs, key) for _, runs in found)]
    rows = [['run', 'config', 'seeds', 'images seen', *(f'{kind} AP' for kind in kinds)]]
    rows[0] += ['minutes of training', 'hardware']
    for folder, runs in found:
        cells = [f'[{folder.name}](results/{folder.name})', Path(runs[0]['config']).stem]
        cells += [', '.join(str(run['seed']) for run in runs), f'{runs[0]["images_seen"]:,}']
        aps = [percent(runs, MEASURED[kind]) for kind in kinds]
        cells += [spread(ap) if ap else '-' for ap in aps]
        cells += [spread([run['last']['train_seconds'] / 60 for run in runs]), runs[0]['hardware']]
        rows.append(cells)
    return markdown(rows, 'lllr' + 'r' * len(kinds) + 'rl')


def speed_table() -> str:
    """What tools/analysis/benchmark.py measured of DSOD beside SSD."""
    measured = json.loads((ROOT / 'results/speed/dsod_ssd.json').read_text())
    return markdown(speed_rows(measured['rounds']), 'lrrr')


def demo_table() -> str:
    """The demo before and after it became fast."""
    files = sorted((ROOT / 'results/demo').glob('seed*.json'))
    before = [ROOT / 'results/speed/demo_before.json']
    rows = [['demo', 'seeds', 'iterations', 'box AP', 'mask AP', 'minutes of training']]
    for name, of_demo in (('before', before), ('today', files)):
        own = [json.loads(file.read_text()) for file in of_demo]
        seconds = [run['last']['train_seconds'] / 60 for run in own]
        aps = [spread(percent(own, MEASURED[kind])) for kind in ('box', 'mask')]
        seeds = ', '.join(str(run['seed']) for run in own)
        rows.append([name, seeds, str(own[0]['last']['iteration']), *aps, spread(seconds)])
    return markdown(rows, 'llrrrr')


def operators_table() -> str:
    """Which of MMDetection's configs tools/analysis/mmdet_configs.py found to run."""
    measured = json.loads((ROOT / 'results/mmdet_configs.json').read_text())
    return markdown(model_trial.rows(measured), 'lr')


def evaluation_table() -> str:
    """What tools/analysis/benchmark.py --suite evaluation measured, the size of COCO val last."""
    files = [ROOT / f'results/speed/{name}.json' for name in ('evaluation', 'evaluation_val')]
    [header, *cells], [_, *more] = (evaluation.rows(json.loads(f.read_text())) for f in files)
    return markdown([header, *cells, *more], 'll' + 'r' * (len(header) - 2))


def suite_table(name: str, make: Callable[[dict[str, Any]], list[list[str]]]) -> str:
    """What tools/analysis/benchmark.py --suite NAME measured."""
    rows = make(json.loads((ROOT / f'results/speed/{name}.json').read_text()))
    return markdown(rows, 'l' + 'r' * (len(rows[0]) - 1))


def real_table() -> str:
    """What tools/analysis/study.py real measured of scratch and of ImageNet's weights."""
    results = page.collect(real.CLAIMS, ROOT / 'results/real')
    return markdown(summary.rows(results), 'lrrrr')


def calibration_table() -> str:
    """Rows of the claims on decide, and the verdict on each with its first numbers."""
    page = Path('results/calibration/README.md').read_text()
    rows = [['claim', 'verdict']]
    for title, text in re.findall(r'^## \d+\. (.+?)$(.+?)(?=^## |\Z)', page, re.M | re.S):
        verdict = re.search(r'^\*\*(.+)\*\*: (.+?)(?: intervals|[;,])', text, re.M)
        rows.append([title, f'{verdict[1]}: {verdict[2]}' if verdict else 'not run yet'])
    return markdown(rows, 'll')


def sensors_table() -> str:
    """What tools/analysis/sensors.py trained: an arm a row, its mean, lowest and highest."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((ROOT / 'results/sensors').glob('*_seed*.json')):
        arms.setdefault(file.stem.rpartition('_seed')[0], []).append(json.loads(file.read_text()))
    rows = [['first layer, other layers', 'seeds', 'iterations', 'box AP', 'mask AP']]
    words = {
        'widened': 'widened, pre-trained',
        'random_first': 'random, pre-trained',
        'scratch': 'random, random',
    }
    for arm, text in words.items():
        runs = arms.get(arm, [])
        cells = ['not run', '-', '-', '-']
        if runs:
            seeds = ', '.join(str(run['seed']) for run in runs)
            aps = [spread(percent(runs, MEASURED[kind])) for kind in ('box', 'mask')]
            cells = [seeds, str(runs[0]['last']['iteration']), *aps]
        rows.append([text, *cells])
    return markdown(rows, 'llrrr')


def tiles_table() -> str:
    """What tools/analysis/large_images.py measured: a way to test whole images a row."""
    found = json.loads((ROOT / 'results/tiles/tiles.json').read_text())['found']
    rows = [['tested', 'box AP', 'box AP50', 'mask AP', 'mask AP50']]
    rows += [[way, *(f'{100 * ap:.1f}' for ap in aps.values())] for way, aps in found.items()]
    return markdown(rows, 'lrrrr')


def fast_table(kind: str) -> str:
    """Of the fast recipe: its runs beside 6x, the recipes that were tried, or multiply-adds."""
    if kind == 'cost':
        folder = ROOT / 'configs/scratch'
        names = 'mask_rcnn_r50_gn_6x.py', 'mask_rcnn_r50_gn_fast.py'
        return markdown(recipes.cost_rows([folder / name for name in names]), 'lrrr')
    files = [ROOT / f'results/speed/{name}.json' for name in ('fast', 'recipes')]
    trained, timed = (json.loads(file.read_text()) for file in files)
    if kind == 'tried':
        return markdown(recipes.tried_rows(trained), 'lrrrrl')
    return markdown(recipes.run_rows(trained | timed), 'llrrrrr')


def reliability_table() -> str:
    content = json.loads((ROOT / 'results/reliability/campaign.json').read_text())
    return markdown(torture.table_rows(content), 'lrrrr')


def long_run_table() -> str:
    measured = json.loads((ROOT / 'results/reliability/long_run.json').read_text())
    return markdown(long_run.rows(measured), 'rrrrrr')


def fuzz_table() -> str:
    """What tests/test_fuzz.py tried."""
    content = json.loads((ROOT / 'results/reliability/fuzz.json').read_text())
    rows = [['reader', 'files', 'read', 'refused in one line', 'other ends']]
    for name, counts in content['readers'].items():
        numbers = sum(counts.values()), counts['read'], counts['refused'], counts['other']
        rows.append([name, *(f'{number:,}' for number in numbers)])
    return markdown(rows, 'lrrrr')


def layout_table() -> str:
    """The entries of the package, in the words of the first line of each."""
    rows = [['`mmscratch/`', '']]
    for path in sorted(Path(mmscratch.__file__).parent.iterdir()):
        file = path / '__init__.py' if path.is_dir() else path
        if file.suffix == '.py' and file.is_file() and path.name != '__init__.py':
            text = ast.get_docstring(ast.parse(file.read_text())) or ''
            first = text.partition('\n')[0].replace('``', '`')
            rows.append([f'`{path.name}{"/" * path.is_dir()}`', first])
    return markdown(rows, 'll')


def tables() -> list[tuple[str, str, Any]]:
    """Of each table: its file, the line before it, and what makes it."""
    found = [
        ('README.md', '<!-- table: tools/tables.py -->', results_table),
        ('docs/mmdetection.md', '<!-- table of operators: tools/tables.py -->', operators_table),
        ('README.md', '<!-- table of the package: tools/tables.py -->', layout_table),
        ('README.md', '<!-- table of real images: tools/tables.py -->', real_table),
        ('README.md', '<!-- table of decide: tools/tables.py -->', calibration_table),
        ('results/sensors/README.md', '<!-- table of sensors: tools/tables.py -->', sensors_table),
        ('results/tiles/README.md', '<!-- table of tiles: tools/tables.py -->', tiles_table),
        (
            'results/reliability/README.md',
            '<!-- table of faults: tools/tables.py -->',
            reliability_table,
        ),
        (
            'results/reliability/README.md',
            '<!-- table of a long run: tools/tables.py -->',
            long_run_table,
        ),
        (
            'results/reliability/README.md',
            '<!-- table of files: tools/tables.py -->',
            fuzz_table,
        ),
        ('configs/dsod/README.md', '<!-- table of speeds: tools/tables.py -->', speed_table),
    ]
    line = '<!-- table of the demo: tools/tables.py -->'
    found.append(('results/speed/README.md', line, demo_table))
    line = '<!-- table of evaluation: tools/tables.py -->'
    found.append(('results/speed/README.md', line, evaluation_table))
    for text, name, rows in (
        ('steps on a CPU', 'cpu', cpu_steps.rows),
        ('steps on a GPU', 'gpu', steps.rows),
        ('loading', 'loading', loading.rows),
        ('steps of loading', 'loading', loading.stage_rows),
        ('decoders', 'loading', loading.decoder_rows),
        ('start', 'start', start.rows),
        ("a worker's memory", 'start', start.memory_rows),
    ):
        line = f'<!-- table of {text}: tools/tables.py -->'
        found.append(('results/speed/README.md', line, functools.partial(suite_table, name, rows)))
    for kind in ('runs', 'tried', 'cost'):
        line = f'<!-- table of fast {kind}: tools/tables.py -->'
        found.append(('results/speed/README.md', line, functools.partial(fast_table, kind)))
    for metafile in load_yaml(ROOT / 'model-index.yml')['Import']:
        folder = Path(metafile).parent
        for kind, make in (('configs', configs_table), ('reported results', reported_table)):
            line = f'<!-- table of {kind}: tools/tables.py -->'
            found.append((f'{folder}/README.md', line, functools.partial(make, folder.name)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 if stale')
    check = parser.parse_args().check
    stale = []
    for name, begin, make in tables():
        text = (ROOT / name).read_text()
        head, rest = text.split(begin + '\n')
        wanted = f'{head}{begin}\n{make()}\n{rest[rest.index(END) :]}'
        if not check:
            (ROOT / name).write_text(wanted)
        elif text != wanted and name not in stale:
            stale.append(name)
    if stale:
        sys.exit(f'error: stale table in {" and ".join(stale)}: run python tools/tables.py')


if __name__ == '__main__':
    main()

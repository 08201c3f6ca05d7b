"""Write the tables that are made from something: of the configs, and of the results.

    python tools/tables.py            # write them
    python tools/tables.py --check    # write nothing; exit 1 if one is stale (make test does this)

configs/README.md lists every config, and beside it what others report for it, in the order of
model-index.yml; exit 2 if that has no entry for a config, or one too many. README.md lists the runs
of results/: results/NAME/seed*.json are the metrics.json of the seeds of one row. results/speed/ is
what tools/analysis/benchmark.py wrote. The table of the package has the first lines of its parts.
"""

import argparse
import ast
import functools
import json
import sys
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, NoReturn

import mmengine.config.utils
import torch
from mmengine.config import Config, ConfigDict

import mmscratch
from mmscratch.benchmark.complexity import detector_multiply_adds
from mmscratch.benchmark.speed import speed_rows
from mmscratch.config.learning_rate import learning_rate

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'scratch': 'scratch', 'pretrained': 'pre-trained'}
END = '<!-- end of table -->'
# in model-index.yml -> how a table calls it
METRICS = {
    'box AP': 'box',
    'mask AP': 'mask',
    'keypoint AP': 'keypoint',
    'VOC AP': 'VOC',
    'VOC07 AP': 'VOC 2007',
    'VOC12 AP': 'VOC 2012',
}
# what a table calls it -> in metrics.json
MEASURED = {
    'box': 'bbox_mAP',
    'mask': 'segm_mAP',
    'keypoint': 'keypoints_mAP',
    'VOC': 'voc_mAP',
}


class ModelSize(NamedTuple):
    """What a model costs: parameters, and multiply-adds on one image."""

    parameters: int
    multiply_adds: int


def markdown(rows: list[list[str]], numeric: str) -> str:
    """A table; ``numeric`` has an ``r`` for each column to be set flush right, else an ``l``."""
    rule = ['---:' if kind == 'r' else '---' for kind in numeric]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], rule, *rows[1:]])


@functools.cache
def model_index() -> list[dict[str, Any]]:
    """The models of model-index.yml; exits if they are not exactly the configs there are."""
    entries = load_yaml(ROOT / 'model-index.yml')['Models']
    listed = [entry['Name'] for entry in entries]
    there = {f'{folder}/{path.stem}' for folder in FOLDERS for path in config_files(folder)}
    for name in sorted(there | set(listed)):
        if name not in listed:
            refuse(f'no entry for configs/{name}.py: add one')
        if name not in there:
            refuse(f'an entry for {name}, which is no config: remove it')
        if listed.count(name) > 1:
            refuse(f'{listed.count(name)} entries for {name}: leave one')
    return entries


def refuse(fault: str) -> NoReturn:
    print(f'error: model-index.yml has {fault}', file=sys.stderr)
    sys.exit(2)


def config_files(folder: str) -> list[Path]:
    return sorted((ROOT / 'configs' / folder).glob('*.py'))


@functools.cache
def load_yaml(path: Path | str) -> dict[str, Any]:
    return mmengine.fileio.load(path)


def configs_table() -> str:
    """One row a config and its twin: where in the paper, size, schedule."""
    header = ['in the paper', 'config', 'parameters (M)', 'multiply-adds (G)', 'images a step']
    header += ['iterations', 'lr at 0, 499, first drop, end', 'lr drops at']
    # each mmdet:: base makes mmengine read all of MMDetection's metafiles, one second a config
    mmengine.config.utils.load = load_yaml
    rows = []
    for paper, entries in groupby(model_index(), key=lambda entry: entry['In Paper']):
        twins: dict[tuple[str, ...], list[str]] = {}
        for entry in entries:
            folder, stem = entry['Name'].split('/')
            cfg = Config.fromfile(ROOT / 'configs' / folder / f'{stem}.py')
            listed, iterations = entry['Metadata']['Iterations'], cfg.train_cfg.max_iters
            if listed != iterations:
                refuse(f'{listed} iterations for {entry["Name"]}, whose config has {iterations}')
            link = f'[{FOLDERS[folder]}]({folder}/{stem}.py)'
            twins.setdefault((stem, *config_cells(cfg)), []).append(link)
        for (stem, *cells), links in twins.items():
            # a label is written once for all of its rows
            rows.append([paper, f'{stem}: {", ".join(links)}', *cells])
            paper = ''
    return markdown([header, *rows], 'llrrrrll')


def config_cells(cfg: Config) -> list[str]:
    """What the config builds and how it trains."""
    size = model_size(json.dumps(cfg.model.to_dict(), sort_keys=True), *test_size(cfg))
    drops = cfg.param_scheduler[-1].milestones
    iterations = cfg.train_cfg.max_iters
    rates = [learning_rate(cfg, i) for i in (0, 499, drops[0], iterations - 1)]
    return [
        f'{size.parameters / 1e6:.2f}',
        f'{size.multiply_adds / 1e9:,.1f}',
        f'{cfg.auto_scale_lr.base_batch_size}',
        f'{iterations:,}',
        ', '.join(f'{rate:.4g}' for rate in rates),
        ', '.join(f'{drop:,}' for drop in drops),
    ]


def test_size(cfg: Config) -> tuple[int, int]:
    """Height and width of a wide image as it is resized for testing."""
    steps = cfg.val_dataloader.dataset.pipeline
    [(width, height)] = [step.scale for step in steps if step.type in ('Resize', 'ShrinkToFit')]
    return height, width


@functools.cache
def model_size(model: str, height: int, width: int) -> ModelSize:
    """Of a model's config as JSON: most configs share theirs with others."""
    from mmdet.registry import MODELS

    with torch.device('meta'):
        detector = MODELS.build(ConfigDict(json.loads(model)))
    return ModelSize(
        sum(parameter.numel() for parameter in detector.parameters()),
        sum(detector_multiply_adds(detector, height, width).values()),
    )


def reported_table() -> str:
    """One row a config and its twin for which there are numbers: the paper's, others', ours."""
    header = ['config', 'paper, scratch', 'paper, pre-trained', 'others', 'here']
    twins: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in model_index():
        folder, stem = entry['Name'].split('/')
        twins.setdefault(stem, {})[folder] = entry
    rows = [[stem, *reported_cells(twin)] for stem, twin in twins.items()]
    return markdown([header] + [row for row in rows if any(row[1:])], 'lllll')


def reported_cells(twin: dict[str, dict[str, Any]]) -> list[str]:
    """Cells for the entries of one stem, by folder."""
    papers: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    others, ours = [], []
    for folder, entry in twin.items():
        for result in entry.get('Reported', []):
            who, _, where = result['Source'].partition(', ')
            remark = [result['Remark']] if 'Remark' in result else []
            if who == 'paper':
                note = '; '.join([where, *remark])
                papers[folder].append(f'{numbers(result)} ({note})')
            else:
                note = '; '.join([result['Source'], *remark])
                others.append(f'{FOLDERS[folder]}: {numbers(result)} ({note})')
        ours += [f'{FOLDERS[folder]}: {text}' for text in measured(entry['Name'])]
    return ['<br>'.join(cell) for cell in (*papers.values(), others, ours)]


def numbers(result: dict[str, Any]) -> str:
    """Such as ``box 41.3 (61.8, 45.6), mask 36.6 (59.0, 38.9)``: AP, and AP50 and AP75 if known."""
    texts = []
    for key, name in METRICS.items():
        if key in result:
            finer = [f'{result[key + iou]:.1f}' for iou in ('50', '75') if key + iou in result]
            texts.append(f'{name} {result[key]:.1f}' + (f' ({", ".join(finer)})' if finer else ''))
    return ', '.join(texts)


def measured(name: str) -> list[str]:
    """What the runs in results/ of the config ``folder/stem`` reached."""
    texts = []
    for folder, runs in results():
        if Path(runs[0]['config']).with_suffix('').parts[-2:] == tuple(name.split('/')):
            values = {kind: percent(runs, key) for kind, key in MEASURED.items()}
            text = ', '.join(f'{kind} {mean(v):.1f}' for kind, v in values.items() if v)
            texts.append(f'{text} ([{folder.name}](../results/{folder.name}))')
    return texts


def results() -> list[tuple[Path, list[dict[str, Any]]]]:
    """The folders of results/ and what their runs left."""
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
    header = ['run', 'config', 'seeds', 'images seen', *(f'{kind} AP' for kind in kinds)]
    rows = [result_row(folder, runs, kinds) for folder, runs in found]
    rows.insert(0, [*header, 'minutes of training', 'hardware'])
    return markdown(rows, 'lllr' + 'r' * len(kinds) + 'rl')


def result_row(folder: Path, runs: list[dict[str, Any]], kinds: list[str]) -> list[str]:
    """The cells for the runs in ``folder``, with the AP of ``kinds``."""
    return [
        f'[{folder.name}](results/{folder.name})',
        Path(runs[0]['config']).stem,
        ', '.join(str(run['seed']) for run in runs),
        f'{runs[0]["images_seen"]:,}',
        *(spread(percent(runs, MEASURED[kind])) for kind in kinds),
        spread([run['last']['train_seconds'] / 60 for run in runs]),
        runs[0]['hardware'],
    ]


def spread(values: list[float]) -> str:
    """The mean, with the lowest and the highest in brackets if there are several."""
    if not values:
        return '-'
    text = f'{mean(values):.1f}'
    return text if len(values) == 1 else f'{text} ({min(values):.1f} to {max(values):.1f})'


def speed_table() -> str:
    """What tools/analysis/benchmark.py measured of DSOD beside SSD."""
    measured = json.loads((ROOT / 'results/speed/dsod_ssd.json').read_text())
    return markdown(speed_rows(measured['rounds']), 'lrrr')


def layout_table() -> str:
    """The entries of the package, in the words of the first line of each."""
    rows = [['`mmscratch/`', '']]
    for path in sorted(Path(mmscratch.__file__).parent.iterdir()):
        file = path / '__init__.py' if path.is_dir() else path
        if file.suffix == '.py' and file.is_file() and path.name != '__init__.py':
            text = ast.get_docstring(ast.parse(file.read_text())).splitlines()[0]
            rows.append([f'`{path.name}{"/" * path.is_dir()}`', text.replace('``', '`')])
    return markdown(rows, 'll')


# file, the line before its table, what makes the table
TABLES = (
    ('README.md', '<!-- table: tools/tables.py -->', results_table),
    ('README.md', '<!-- table of the package: tools/tables.py -->', layout_table),
    ('configs/README.md', '<!-- table of speeds: tools/tables.py -->', speed_table),
    ('configs/README.md', '<!-- table of configs: tools/tables.py -->', configs_table),
    ('configs/README.md', '<!-- table of reported results: tools/tables.py -->', reported_table),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 if stale')
    check = parser.parse_args().check
    stale = []
    for name, begin, make in TABLES:
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

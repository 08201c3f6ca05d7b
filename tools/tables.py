"""Write the tables that are made from something: of the configs, and of the results.

    python tools/tables.py            # write them
    python tools/tables.py --check    # write nothing; exit 1 if one is stale (make test does this)

configs/README.md lists every config with the parameters of the model it builds. README.md lists the
runs of results/: results/NAME/*.json are the metrics.json of the seeds of one row.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean

import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
END = '<!-- end of table -->'


def markdown(rows: list[list[str]], numeric: str) -> str:
    """A table; ``numeric`` has an ``r`` for each column to be set flush right, else an ``l``."""
    rule = ['---:' if kind == 'r' else '---' for kind in numeric]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], rule, *rows[1:]])


def configs_table() -> str:
    """One row a config: what it is, its parameters, its schedule."""
    header = ['config', 'what', 'parameters', 'images a step', 'iterations', 'lr drops at']
    folder = ROOT / 'configs'
    leaves = sorted(path for path in folder.glob('*/*.py') if path.parent.name != '_base_')
    return markdown([header] + [config_row(leaf, folder) for leaf in leaves], 'llrrrl')


def config_row(path: Path, folder: Path) -> list[str]:
    """The cells for the config at ``path``."""
    from mmdet.registry import MODELS

    cfg = Config.fromfile(path)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    return [
        f'[{path.stem}]({path.relative_to(folder)})',
        path.read_text().splitlines()[0].removeprefix('# '),
        f'{sum(parameter.numel() for parameter in model.parameters()):,}',
        f'{cfg.auto_scale_lr.base_batch_size}',
        f'{cfg.train_cfg.max_iters:,}',
        ', '.join(f'{milestone:,}' for milestone in cfg.param_scheduler[1].milestones),
    ]


def results_table() -> str:
    """One row a folder of results/: mean over its seeds, lowest and highest."""
    header = ['run', 'config', 'seeds', 'images seen', 'box AP', 'mask AP', 'minutes of training']
    folders = sorted(path for path in (ROOT / 'results').iterdir() if path.is_dir())
    rows = [result_row(folder) for folder in folders]
    return markdown([[*header, 'hardware'], *rows], 'lllrrrrl')


def result_row(folder: Path) -> list[str]:
    """The cells for the runs in ``folder``."""
    runs = [json.loads(file.read_text()) for file in sorted(folder.glob('*.json'))]
    return [
        f'[{folder.name}](results/{folder.name})',
        Path(runs[0]['config']).stem,
        ', '.join(str(run['seed']) for run in runs),
        f'{runs[0]["images_seen"]:,}',
        spread([100 * run['last']['bbox_mAP'] for run in runs]),
        spread([100 * run['last']['segm_mAP'] for run in runs if 'segm_mAP' in run['last']]),
        spread([run['last']['train_seconds'] / 60 for run in runs]),
        runs[0]['hardware'],
    ]


def spread(values: list[float]) -> str:
    """The mean, with the lowest and the highest in brackets if there are several."""
    if not values:
        return '-'
    text = f'{mean(values):.1f}'
    return text if len(values) == 1 else f'{text} ({min(values):.1f} to {max(values):.1f})'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 if stale')
    check = parser.parse_args().check
    tables = {'README.md': results_table, 'configs/README.md': configs_table}
    stale = []
    for name, make in tables.items():
        text = (ROOT / name).read_text()
        begin = '<!-- table: tools/tables.py -->\n'
        head, rest = text.split(begin)
        wanted = head + begin + make() + '\n' + rest[rest.index(END) :]
        if not check:
            (ROOT / name).write_text(wanted)
        elif text != wanted:
            stale.append(name)
    if stale:
        sys.exit(f'error: stale table in {" and ".join(stale)}: run python tools/tables.py')


if __name__ == '__main__':
    main()

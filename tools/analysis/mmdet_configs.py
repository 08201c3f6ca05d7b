"""Try all configs of the installed MMDetection: does the model build, train for a step, predict?

    python tools/analysis/mmdet_configs.py --out results/mmdet_configs.json

Models are built at full size with random weights; nothing is downloaded. Configs whose models
differ in numbers only are one try. FILE always has what was tried so far; the same command
continues it, and ``--retry`` also tries again what failed.
"""

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mmdet
import torch
from mmdet.utils import register_all_modules

from mmscratch.benchmark.model_trial import SIZES, distinct_models, fault, try_model
from mmscratch.errors import one_line_errors
from mmscratch.process.progress_bar import ProgressBar

MIM = Path(mmdet.__file__).parent / '.mim'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, metavar='FILE', required=True)
    parser.add_argument('--configs', type=Path, default=MIM / 'configs', metavar='FOLDER')
    parser.add_argument('--seconds', type=int, default=120, help='for a model (default 120)')
    parser.add_argument('--retry', action='store_true', help='try again what failed')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    register_all_modules()
    found, faults = distinct_models(args.configs)
    about = dict(
        command=' '.join(['mmdet_configs.py', *sys.argv[1:]]),
        hardware=f'1 CPU core ({platform.machine()})',
        versions={name: version(name) for name in ('mmdet', 'mmcv-lite', 'torch', 'torchvision')},
        image_sizes=SIZES,
        not_loaded=faults,
    )
    tried = json.loads(args.out.read_text())['models'] if args.out.is_file() else []
    known = {tuple(entry['configs']): entry for entry in tried}
    entries = [known.get(tuple(names), dict(configs=names)) for names, _ in found]
    with ProgressBar(total=len(found), desc='models') as progress:
        for i, (names, model) in enumerate(found):
            if 'build' not in entries[i] or (args.retry and fault(entries[i])):
                entries[i] = dict(configs=names) | try_model(model, MIM, args.seconds)
                write(args.out, about, entries)
            progress.update()


def write(out: Path, about: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    """A line a model."""
    lines = ',\n'.join(json.dumps(entry) for entry in entries)
    head = json.dumps(about, indent=1).removesuffix('\n}')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{head},\n "models": [\n{lines}\n]}}\n')


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command continues'):
        main()

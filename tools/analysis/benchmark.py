"""Time configs side by side: training, testing, memory, on drawn images of each config's size.

    python tools/analysis/benchmark.py CONFIG CONFIG ... [--batch 4] [--rounds 5] [--out FILE.json]

Every round runs each config once, in turn, so that a machine whose speed varies is as kind to one
as to the other: compare the numbers of one run, and no others. Each config has a process of its
own, whose peak memory is told less what it had before the model (on a GPU: what torch allocated).
Loading of images is not timed. The numbers are medians over the rounds, with the lowest and the
highest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mmscratch.config import config_check
from mmscratch.data.progress_bar import ProgressBar
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError, one_line_errors
from mmscratch.models.speed import METRICS, measure, speed_rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', type=Path, nargs='+', metavar='CONFIG')
    parser.add_argument('--batch', type=int, default=4, help='images a step (default 4)')
    parser.add_argument('--rounds', type=int, default=5, help='default 5')
    parser.add_argument('--steps', type=int, default=3, help='timed in a round (default 3)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')
    # one measurement, in the process of its own
    parser.add_argument('--data', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.batch, args.rounds, args.steps) < 1:
        parser.error('--batch, --rounds and --steps are at least 1')
    if len({config.stem for config in args.configs}) < len(args.configs):
        parser.error('two configs of one name: twins cost the same, give one of them')
    return args


def in_own_process(config: Path, data: Path, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(config), '--data', str(data)]
    command += ['--batch', str(args.batch), '--steps', str(args.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        text = last.removeprefix('error: ')
        raise InputError(text if str(config) in text else f'{config}: {text}')
    return json.loads(done.stdout.splitlines()[-1])


def hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'{os.cpu_count()} CPU cores'


def main() -> None:
    args = parse_args()
    if args.data:
        print(json.dumps(measure(args.configs[0], args.data, args.batch, args.steps)))
        return
    for config in args.configs:
        config_check.check_keys(config_check.load(config, {}))
    rounds: dict[str, list[dict[str, float]]] = {config.stem: [] for config in args.configs}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        generate(data, ShapesConfig(size=300), {'train': args.batch, 'val': 1}, progress=False)
        with ProgressBar(total=args.rounds * len(args.configs), desc='runs') as progress:
            for _ in range(args.rounds):
                for config in args.configs:
                    rounds[config.stem].append(in_own_process(config, data, args))
                    progress.update()
    header, *cells = speed_rows(rounds)
    for line in [header, ['---', *['---:'] * len(METRICS)], *cells]:
        print('| ' + ' | '.join(line) + ' |')
    if args.out:
        record = dict(
            command=' '.join(['benchmark.py', *sys.argv[1:]]),
            hardware=hardware(),
            torch=torch.__version__,
            batch=args.batch,
            rounds=rounds,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    with one_line_errors('interrupted; nothing was written'):
        main()

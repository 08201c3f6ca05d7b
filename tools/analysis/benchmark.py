"""Time configs side by side: training, testing, memory, on drawn images of each config's size.

    python tools/analysis/benchmark.py CONFIG CONFIG ... [--batch 4] [--rounds 5] [--out FILE.json]

Every round runs each config once, in turn, so that a machine whose speed varies is as kind to one
as to the other: compare the numbers of one run, and no others. Each config has a process of its
own, whose peak memory is told less what it had before the model (on a GPU: what torch allocated).
Loading of images is not timed. The numbers are medians over the rounds, with the lowest and the
highest.

    python tools/analysis/benchmark.py --suite SUITE --out FILE.json

A suite measures one side of this project. FILE always has what was measured so far.

- ``cpu``: training steps of the small Mask R-CNN of SHAPES with each speed-up for a CPU
- ``evaluation``: COCO's evaluation by pycocotools, by faster-coco-eval where it is installed and by
  this project's metrics; boxes and masks of part ``instances``, keypoints of part ``persons``.
  ``--parts val`` has the size of COCO val, with 100 detections an image
- ``gpu``: training steps of the Mask R-CNNs of this project, of MMDetection and of torchvision and
  of one with frozen BN, in float32 and bfloat16, and with each speed-up of
  ``mmscratch.models.speedups`` alone, for about --seconds
- ``loading``: the loading of training images beside MMDetection's
- ``long``: memory, open files, threads and processes over 2,000 steps of training, on Linux
- ``recipes``: training steps of the fast recipe and of 6x, in turns in one process, loading
  included. Give one thread (OMP_NUM_THREADS=1) where other work runs
- ``start``: time and memory up to the first step of a training on as many images and objects as
  COCO has, on Linux
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger

from mmscratch.benchmark import (
    cpu_steps,
    evaluation,
    loading,
    long_run,
    recipes,
    start,
    steps,
)
from mmscratch.benchmark.speed import measure, speed_rows
from mmscratch.config import config_check
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import circumstances
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.study.page import markdown

# of the suite evaluation; those that are measured if none is named come first
PARTS = ['instances', 'persons', 'val']
# what measures, and what makes tables of it
SUITES: dict[str, Any] = dict(
    cpu=(cpu_steps.measure, cpu_steps.rows),
    evaluation=(evaluation.measure, evaluation.rows),
    gpu=(steps.measure, steps.rows),
    loading=(loading.measure, loading.rows, loading.stage_rows, loading.decoder_rows),
    long=(long_run.measure, long_run.rows),
    recipes=(recipes.measure, recipes.rows),
    start=(start.measure, start.rows, start.memory_rows),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', type=Path, nargs='*', metavar='CONFIG')
    parser.add_argument('--batch', type=int, default=4, help='images a step of configs (default 4)')
    parser.add_argument('--rounds', type=int, default=5, help='default 5')
    parser.add_argument(
        '--steps', type=int, default=3, help='of configs, timed in a round (default 3)'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')
    parser.add_argument('--suite', choices=SUITES, help='in place of configs')
    parser.add_argument('--parts', nargs='+', choices=PARTS, help='of --suite evaluation')
    parser.add_argument('--seconds', type=float, default=240, help='of --suite gpu (default 240)')
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'], help='of --suite gpu')
    parser.add_argument('--tiny', action='store_true', help='try --suite out with small models')
    # one measurement, in the process of its own
    parser.add_argument('--data', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.batch, args.rounds, args.steps) < 1:
        parser.error('--batch, --rounds and --steps are at least 1')
    if bool(args.suite) == bool(args.configs):
        parser.error('give configs, or a --suite')
    if args.suite and not args.out:
        parser.error('--suite writes its numbers to --out FILE')
    if args.suite == 'gpu' and args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--suite gpu needs a GPU, and there is none; --device cpu --tiny tries it out')
    if args.parts and args.suite != 'evaluation':
        parser.error('--parts is of --suite evaluation')
    if len({config.stem for config in args.configs}) < len(args.configs):
        parser.error('two configs of one name: twins cost the same, give one of them')
    return args


def run_suite(args: argparse.Namespace) -> None:
    """Measure one of ``SUITES``, and print its tables."""
    measure_suite, *tables = SUITES[args.suite]
    options = dict(
        evaluation=dict(parts=args.parts or PARTS[:2]),
        gpu=dict(device=args.device, seconds=args.seconds),
    ).get(args.suite, {})
    record: dict[str, Any] = about()
    with tempfile.TemporaryDirectory() as folder:
        for numbers in measure_suite(Path(folder), args.tiny, args.rounds, **options):
            write(args.out, record | numbers)
    for make in tables:
        print_table(make(numbers))


def in_own_process(config: Path, data: Path, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(config), '--data', str(data)]
    command += ['--batch', str(args.batch), '--steps', str(args.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        text = last.removeprefix('error: ')
        raise InputError(text if str(config) in text else f'{config}: {text}')
    return json.loads(done.stdout.splitlines()[-1])


def about() -> dict[str, Any]:
    """What each file of numbers tells of its run."""
    command = ' '.join(['benchmark.py', *sys.argv[1:]])
    return dict(command=command, hardware=circumstances.hardware(), torch=torch.__version__)


def write(out: Path, record: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + '\n')


def print_table(rows: list[list[str]]) -> None:
    print(markdown(rows, 'l' + 'r' * (len(rows[0]) - 1)))


def main() -> None:
    args = parse_args()
    if args.suite:
        # MMEngine logs the rate and the decay of every parameter
        MMLogger.get_instance('mmengine').setLevel('ERROR')
        run_suite(args)
        return
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
    print_table(speed_rows(rounds))
    if args.out:
        write(args.out, dict(**about(), batch=args.batch, rounds=rounds))


if __name__ == '__main__':
    with one_line_errors('interrupted'):
        main()

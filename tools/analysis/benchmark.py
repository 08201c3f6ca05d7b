"""Time configs side by side: training, testing, memory, on drawn images of each config's size.

    python tools/analysis/benchmark.py CONFIG CONFIG ... [--batch 4] [--rounds 5] [--out FILE.json]

Every round runs each config once, in turn, so that a machine whose speed varies is as kind to one
as to the other: compare the numbers of one run, and no others. Each config has a process of its
own, whose peak memory is told less what it had before the model (on a GPU: what torch allocated).
Loading of images is not timed. The numbers are medians over the rounds, with the lowest and the
highest.

    python tools/analysis/benchmark.py --suite gpu --out FILE.json [--seconds 460] [--parts steps]

This measures what one GPU does with the project and with its peers: ceilings of the card, training
steps in several precisions and with several norm layers, loading, a training on SHAPES in each
precision, compilation. Parts run one after the other, each until its time is over; FILE has what
was measured so far.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch
from mmengine.logging import MMLogger

from mmscratch.benchmark import ceilings, loading, runs, steps
from mmscratch.benchmark.settings import Settings, save
from mmscratch.benchmark.speed import METRICS, measure, speed_rows
from mmscratch.config import config_check
from mmscratch.data.progress_bar import ProgressBar
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError, one_line_errors

# Parts of the suite in their order, with the most seconds that each may take. 'warm' fills the
# compiler's cache for 'compiled' while SHAPES trains, which is not timed to the second.
PARTS = dict(ceilings=20, steps=185, shapes=135, warm=135, compiled=55, together=40, loading=20)
AT_ONCE = ('shapes', 'warm')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', type=Path, nargs='*', metavar='CONFIG')
    parser.add_argument('--batch', type=int, default=4, help='images a step (default 4)')
    parser.add_argument('--rounds', type=int, default=5, help='default 5')
    parser.add_argument('--steps', type=int, default=3, help='timed in a round (default 3)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write the numbers as JSON')
    parser.add_argument('--suite', choices=['gpu'], help='measure this in place of configs')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS), help='of --suite')
    parser.add_argument('--seconds', type=float, default=460, help='for all of --suite')
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'], help='of --suite')
    parser.add_argument('--tiny', action='store_true', help='try --suite out with small models')
    # one measurement, in the process of its own
    parser.add_argument('--data', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.batch, args.rounds, args.steps) < 1:
        parser.error('--batch, --rounds and --steps are at least 1')
    if bool(args.suite) == bool(args.configs):
        parser.error('give configs, or --suite gpu')
    if args.suite and not args.out:
        parser.error('--suite writes its numbers to --out FILE')
    if args.suite and args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--suite gpu needs a GPU, and there is none; --device cpu --tiny tries it out')
    if len({config.stem for config in args.configs}) < len(args.configs):
        parser.error('two configs of one name: twins cost the same, give one of them')
    return args


def run_suite(args: argparse.Namespace) -> None:
    """Run the parts of the suite one after the other, each in a process of its own."""
    end = time.monotonic() + args.seconds
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.unlink(missing_ok=True)
    about = dict(
        command=' '.join(['benchmark.py', *sys.argv[1:]]),
        hardware=hardware(),
        cores=os.cpu_count(),
        torch=torch.__version__,
        status={},
    )
    save(args.out, 'about', about)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), args.tiny)
        while parts := [part for part in args.parts if part not in about['status']]:
            now = [part for part in parts if part in AT_ONCE] if parts[0] in AT_ONCE else parts[:1]
            if end - time.monotonic() < 10:
                break
            begin = time.monotonic()
            seconds = {part: min(PARTS[part], end - begin) for part in now}
            running = {part: start_part(part, seconds[part], folder, args) for part in now}
            for part, process in running.items():
                status = end_part(process, begin + seconds[part] + 8)
                about['status'][part] = [status, round(time.monotonic() - begin, 1)]
                print(f'{part}: {status}, {about["status"][part][1]} s', flush=True)
            save(args.out, 'about', about)
    record = json.loads(args.out.read_text())
    peak = record.get('ceilings', {}).get('bf16_tflops', float('nan'))
    for part in ('steps', 'compiled'):
        for line in steps.rows(record.get(part, {}), peak):
            print('| ' + ' | '.join(line) + ' |')
    for part in ('ceilings', 'shapes', 'together', 'loading'):
        print(part, json.dumps(record.get(part))[:3000])


def start_part(
    part: str, seconds: float, folder: str, args: argparse.Namespace
) -> subprocess.Popen:
    """A process of its own: a fault of the GPU ends whatever follows in the same one."""
    command = [sys.executable, __file__, '--suite', 'gpu', '--data', folder, '--parts', part]
    command += ['--seconds', str(seconds), '--out', str(args.out)]
    command += ['--device', args.device, *['--tiny'] * args.tiny]
    return subprocess.Popen(command, start_new_session=True)


def end_part(process: subprocess.Popen, until: float) -> int | str:
    """Wait for the process, and end it with its workers and tools at ``until``; its status."""
    try:
        return process.wait(max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return 'cut'
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_part(args: argparse.Namespace) -> None:
    # MMEngine logs the rate and the decay of every parameter
    MMLogger.get_instance('mmengine', log_level='ERROR')
    [part] = args.parts
    until = time.monotonic() + args.seconds
    settings = Settings(part, args.out, args.data, args.device, args.tiny, until)
    measures = dict(
        ceilings=ceilings.measure,
        steps=lambda settings: steps.measure(settings, steps.VARIANTS),
        warm=lambda settings: steps.measure(settings, steps.COMPILED, rounds=0),
        compiled=lambda settings: steps.measure(settings, steps.COMPILED),
        shapes=runs.shapes,
        together=runs.together,
        loading=loading.measure,
    )
    measures[part](settings)


def draw(folder: Path, tiny: bool) -> None:
    """Draw the demo's SHAPES, and JPEG files of COCO's size with as many objects as COCO's have."""
    shapes = (
        '--size 128 --classes 3 --objects 1 4 --object-size 0.4 0.7 --rotation 0 --occlusion 0.1'
    )
    wide = '--size 640 384 --objects 4 10 --object-size 0.1 0.6'
    for name, options, counts in (('shapes', shapes, (1000, 100)), ('wide', wide, (96, 2))):
        train, val = (4, 2) if tiny else counts
        # its workers import what the main program imports, which is little there
        tool = Path(__file__).parents[1] / 'data/shapes.py'
        command = [sys.executable, tool, folder / name, '--train', str(train), '--val', str(val)]
        subprocess.run([*command, *options.split()], check=True, stdout=subprocess.DEVNULL)
    for split in ('train', 'val'):
        for image in (folder / 'wide' / split).glob('*.png'):
            cv2.imwrite(str(image.with_suffix('.jpg')), cv2.imread(str(image)))
            image.unlink()
        file = folder / f'wide/annotations/instances_{split}.json'
        file.write_text(file.read_text().replace('.png"', '.jpg"'))


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
    if args.suite:
        run_part(args) if args.data else run_suite(args)
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

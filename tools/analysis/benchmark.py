"""Time configs side by side: training, testing, memory, on drawn images of each config's size.

    python tools/analysis/benchmark.py CONFIG CONFIG ... [--batch 4] [--rounds 5] [--out FILE.json]

Every round runs each config once, in turn, so that a machine whose speed varies is as kind to one
as to the other: compare the numbers of one run, and no others. Each config has a process of its
own, whose peak memory is told less what it had before the model (on a GPU: what torch allocated).
Loading of images is not timed. The numbers are medians over the rounds, with the lowest and the
highest.
"""

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from mmscratch import config_check
from mmscratch.datasets import coco_folder
from mmscratch.datasets.shapes import ShapesConfig, generate
from mmscratch.errors import InputError, one_line_errors

METRICS = {
    'train_images_per_second': 'training, images/s',
    'train_memory_mb': 'training, MB',
    'test_images_per_second': 'testing, images/s',
}


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
    return args


def resident_mb() -> float:
    """The most memory this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(config: Path, data: Path, batch: int, steps: int) -> dict[str, float]:
    """One round of one config."""
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.utils import import_modules_from_strings

    cfg = config_check.load(config, {})
    import_modules_from_strings(**cfg.get('custom_imports', {}))
    init_default_scope('mmdet')
    coco_folder.point_config_at(cfg, coco_folder.find(data))
    train, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    images = pseudo_collate([train[i % len(train)] for i in range(batch)])
    single = pseudo_collate([test[0]])

    on_gpu = torch.cuda.is_available()
    before = resident_mb()
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to('cuda' if on_gpu else 'cpu')
    cfg.optim_wrapper.pop('accumulative_counts', None)
    # a rate at which random weights stay finite; the work is the same
    cfg.optim_wrapper.optimizer.lr = 1e-4
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    model.train()
    training = timed(lambda: model.train_step(copy.deepcopy(images), optim_wrapper), steps)
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resident_mb() - before
    model.eval()
    with torch.no_grad():
        testing = timed(lambda: model.test_step(copy.deepcopy(single)), steps)
    return dict(
        train_images_per_second=batch / training,
        train_memory_mb=memory,
        test_images_per_second=1 / testing,
    )


def timed(call: Any, steps: int) -> float:
    """Median seconds of a call, after a first one that isn't counted."""
    seconds = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[1:])


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
        with tqdm(total=args.rounds * len(args.configs), unit='run') as progress:
            for _ in range(args.rounds):
                for config in args.configs:
                    rounds[config.stem].append(in_own_process(config, data, args))
                    progress.update()
    header = ['config', *METRICS.values()]
    print('| ' + ' | '.join(header) + ' |\n| --- |' + ' ---: |' * len(METRICS))
    for name, runs in rounds.items():
        columns = [[run[key] for run in runs] for key in METRICS]
        cells = [f'{median(c):.3g} ({min(c):.3g} to {max(c):.3g})' for c in columns]
        print('| ' + ' | '.join([name, *cells]) + ' |')
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

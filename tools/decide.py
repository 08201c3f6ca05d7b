"""Should I pre-train, or train from scratch, on my data, and for how long? Measured in a budget.

    python tools/decide.py --data DIR --budget 3h
    python tools/decide.py --data DIR --budget 3h --arms scratch,imagenet,frozen
    python tools/decide.py --data DIR --budget 3h --arms scratch,weights.pth
    python tools/decide.py --data DIR --budget 3h --images 250    # parts of up to 250 images

It trains a small detector from each initialization on parts of the data, for several lengths and
seeds, and carries the curves on to all images and more. If stopped, the same command goes on where
it was. --out has index.html, decide.json, and the results of all runs.
"""

import argparse
import re
import sys
from pathlib import Path

from mmscratch.config import cpu_threads
from mmscratch.errors import one_line_errors

SMALL = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')
LARGE = Path('configs/scratch/mask_rcnn_r50_gn_2x.py')


def hours(text: str) -> float:
    """Seconds of ``3h``, ``90m`` or ``1.5h``."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([hm])', text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f'{text}: give hours or minutes, such as 3h or 90m')
    return float(match[1]) * {'h': 3600, 'm': 60}[match[2]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, metavar='DIR')
    parser.add_argument('--budget', type=hours, required=True, metavar='TIME', help='3h or 90m')
    parser.add_argument('--arms', help='initializations, divided by commas')
    parser.add_argument('--config', type=Path)
    parser.add_argument('--images', type=int, metavar='N')
    parser.add_argument('--scale', type=float, metavar='F')
    parser.add_argument('--jobs', type=int, default=cpu_threads.cores(), metavar='N')
    parser.add_argument('--out', type=Path, metavar='DIR')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmscratch.study.decide import arm
    from mmscratch.study.decide.decision import Decision
    from mmscratch.study.decide.plan import describe

    config = args.config or SMALL
    names = args.arms.split(',') if args.arms else arm.defaults(config)
    folder = args.out or Path('work_dirs/decide') / args.data.resolve().name
    folder.mkdir(parents=True, exist_ok=True)
    arms = arm.resolve(names, config)
    decision = Decision(folder, config, arms, args.data, args.jobs, args.images, args.scale)
    plan = decision.plan(args.budget)
    print(describe(plan))
    failed = decision.train(plan, args.budget, lambda: None)
    content = decision.answer(plan)
    print('\n'.join(content['verdict']))
    for label, why in failed.items():
        print(f'failed: {label}: {why}', file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on'):
        main()

"""Time each stage of the fast recipe and 6x in turns, on the study's data.

    python tools/analysis/fast.py --out results/speed/fast.json [--rounds 10] [--steps 4]

FILE gets the seconds a step as its part ``steps``; its other parts stay. Give one thread
(OMP_NUM_THREADS=1) where other work runs: turns make ratios fair, and times are the machine's.
"""

import argparse
import json
import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmscratch.register_all  # noqa: F401
from mmscratch.benchmark import recipes
from mmscratch.errors import one_line_errors
from mmscratch.study.miniature import data, plan

FAST = 'configs/miniature/mask_rcnn_r18_gn_fast.py'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE')
    parser.add_argument('--rounds', type=int, default=10, help='default 10')
    parser.add_argument('--steps', type=int, default=4, help='timed in a turn (default 4)')
    args = parser.parse_args()
    # MMEngine logs the rate of every parameter
    logging.disable(logging.INFO)
    init_default_scope('mmdet')
    data.prepare([data.of_config(FAST)], workers=1)
    longest = Config.fromfile(plan.DETECTOR)
    longest.train_cfg.max_iters = plan.LONGEST * plan.SCHEDULE.one
    configs = {'6x': longest, 'fast': Config.fromfile(FAST)}
    numbers = recipes.measure(configs, args.rounds, args.steps)
    record = json.loads(args.out.read_text()) if args.out.exists() else {}
    args.out.write_text(json.dumps(record | {'steps': numbers}, indent=1) + '\n')
    for name, seconds in recipes.seconds_of_runs(numbers).items():
        print(f'{name}: {min(seconds):.0f} to {max(seconds):.0f} s')


if __name__ == '__main__':
    with one_line_errors('interrupted'):
        main()

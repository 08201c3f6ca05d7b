"""Pre-train, or train from scratch, on my data, and for how long? Measured in a budget of hours.

    python tools/decide.py --data DIR --budget 3h
    python tools/decide.py --data DIR --budget 3h --arms scratch,imagenet,frozen
    python tools/decide.py --data DIR --budget 3h --arms scratch,weights.pth
    python tools/decide.py --data DIR --budget 3h --images 250   # parts of up to 250 images alone
    python tools/decide.py --data DIR --no-train                 # what is known without training

It trains a small detector from each initialization on parts of the data, for several lengths and
seeds, and predicts the AP with all images, and with more. --out has index.html with the verdict,
the curves and the commands that train this detector on all images; decide.json with all numbers;
the runs. index.html can be read while it trains. If stopped, the same command goes on where it
was. The same command with a larger budget adds seeds; for longer schedules give another --out, too.
"""

import argparse
import re
import sys
from pathlib import Path

from mmscratch.errors import one_line_errors
from mmscratch.study import launchers

CONFIG = Path('configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py')


def seconds(text: str) -> float:
    """Of ``3h``, ``1.5h`` or ``90m``."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([hm])', text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f'{text}: give hours or minutes, such as 3h or 90m')
    return float(match[1]) * {'h': 3600, 'm': 60}[match[2]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='a folder of any layout of train.py'
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        '--budget', type=seconds, metavar='TIME', help='wall time it may take, such as 3h or 90m'
    )
    what.add_argument(
        '--no-train',
        action='store_true',
        help='say what other studies found with as many images, and train nothing',
    )
    parser.add_argument(
        '--arms',
        metavar='A,B,...',
        help='initializations: scratch, imagenet, frozen (ImageNet, a frozen backbone), own '
        '(pre-trained here on the images alone), or files of weights. The others are compared with '
        'the first (default: scratch,imagenet)',
    )
    parser.add_argument(
        '--config',
        type=Path,
        default=CONFIG,
        help=f'of configs/scratch/ (default: {CONFIG.stem}, a small detector)',
    )
    parser.add_argument(
        '--images', type=int, metavar='N', help='the most images of a part (default: all)'
    )
    parser.add_argument(
        '--scale', type=float, metavar='F', help="images of F times the config's size, such as 0.5"
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='default: work_dirs/decide/NAME_OF_THE_DATA'
    )
    launchers.add_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmscratch.study.decide import arm, evidence, page, plan
    from mmscratch.study.decide.decision import Decision

    config = args.config
    plan.check_config(config)
    arms = []
    if not args.no_train:
        names = args.arms.split(',') if args.arms else arm.defaults(config)
        arms = arm.resolve(names, config)
    folder = args.out or Path('work_dirs/decide') / args.data.resolve().name
    launcher = launchers.from_options(args)
    decision = Decision(folder, config, arms, args.data, launcher, args.images, args.scale)
    for report in decision.reports:
        print('\n'.join(report.lines()))
    known = [*evidence.PUBLISHED, *evidence.measured()]
    print('\n'.join(evidence.text(decision.images, decision.objects_an_image, known)))
    if args.no_train:
        return
    # one call at a time writes into the folder
    with decision.executor.locked():
        laid_out = decision.plan(args.budget)

        def answer(running: bool = True) -> list[str]:
            found = decision.answer(laid_out)
            page.write(folder, running)
            told = found['verdict'] or ['not enough runs of each initialization yet']
            if budget := found['needs_budget']:
                told.append(
                    f'The budget is spent before the last run: go on with --budget {budget}'
                )
            return told

        answer()
        print(f'{plan.describe(laid_out)}; the answer so far: {folder / page.PAGE}')
        try:
            decision.train(laid_out, args.budget, update=answer)
        finally:
            # of an interrupted call, too
            told = answer(running=False)
    print('\n'.join(told))
    for label, why in decision.failed.items():
        print(f'failed: {label}: {why}', file=sys.stderr)
    if decision.failed:
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on'):
        main()

"""A study: train its missing runs, judge its claims, draw its page.

    python tools/analysis/study.py miniature              # the paper's claims on drawn images
    python tools/analysis/study.py real                   # ImageNet or scratch, on real images
    python tools/analysis/study.py calibration            # is tools/decide.py right?
    python tools/analysis/study.py miniature --claim 1    # one claim
    python tools/analysis/study.py miniature --claim 1 --seeds 1 --again work_dirs/again
    python tools/analysis/study.py miniature --report     # train nothing, draw the page
    python tools/analysis/study.py miniature --slurm PARTITION --slurm-options gres=gpu:1

The fifth repeats a claim in a folder of its own. The page is results/STUDY/README.md. The results
are in runs/ beside it, one JSON file a run. A result is valid as long as its run has the same
model, data, schedule, optimizer and seed. Valid results of the repository are not trained again,
except with --again. If stopped, the same command goes on where it was.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import cpu_threads
from mmscratch.study import launchers, page
from mmscratch.study.claim import Study
from mmscratch.study.executor import Executor
from mmscratch.study.run import in_order

STUDIES = ('miniature', 'real', 'calibration')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('study', choices=STUDIES)
    parser.add_argument('--claim', type=int, nargs='+', metavar='N', help='default: all')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='default 3')
    launchers.add_options(parser)
    parser.add_argument(
        '--again',
        type=Path,
        metavar='FOLDER',
        help='repeat runs that have results already, with results and page in this folder',
    )
    parser.add_argument('--report', action='store_true', help='train nothing')
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error('--seeds is at least 1')
    return args


def main() -> None:
    args = parse_args()
    launcher = launchers.from_options(args)
    # plans read configs when they are imported
    if not Path('configs').is_dir():
        raise InputError('configs: no such folder here; run this at the root of the checkout')
    module = import_module(f'mmscratch.study.{args.study}')
    study: Study = module.STUDY
    committed = Path('results') / study.name
    claims = {claim.number: claim for claim in study.claims}
    if unknown := set(args.claim or ()) - set(claims):
        numbers = ', '.join(map(str, claims))
        raise InputError(f'--claim {min(unknown)}: the study {study.name} has {numbers}')
    chosen = [claims[number] for number in args.claim or claims]
    runs = [run for claim in chosen for run in claim.of_seeds(range(args.seeds))]
    folder = args.again or committed
    failed: dict[str, str] = {}
    if not args.report:
        module.data.prepare({run.data for run in in_order(runs)}, workers=cpu_threads.cores())
        work_dirs = args.again / 'work_dirs' if args.again else Path('work_dirs') / study.name
        executor = Executor(folder / page.RUNS, work_dirs, launcher)
        if not executor.missing(runs):
            print(f'{folder} has all of these runs; --again FOLDER trains them anew')
        failed = executor.execute(runs)
        # checkpoints that other claims need are kept
        executor.tidy([run for claim in study.claims for run in claim.of_seeds(range(args.seeds))])
    page.write(folder, study)
    if args.again:
        repeated, before = (page.collect(chosen, where) for where in (args.again, committed))
        print(page.compare(repeated, before))
    for claim in chosen:
        results = page.collect([claim], folder)
        if {run.name for run in claim.of_seeds([0])} <= set(results):
            verdict = claim.verdict(results)
            print(f'{claim.number}. {claim.title}: {verdict.word} ({verdict.numbers})')
    for label, why in failed.items():
        print(f'failed: {label}: {why}', file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on'):
        main()

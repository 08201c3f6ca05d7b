"""The paper in miniature: train the missing runs of the study, judge its claims, draw its page.

    python tools/analysis/miniature.py                 # everything
    python tools/analysis/miniature.py --claim 1       # one claim
    python tools/analysis/miniature.py --claim 1 --seeds 1 --again work_dirs/again  # repeat it
    python tools/analysis/miniature.py --report        # train nothing, draw the page

The page is results/miniature/README.md. The results are in runs/ beside it, one JSON file a run. A
result is valid as long as its run has the same model, data, schedule, optimizer and seed. Valid
results of the repository are not trained again, except with --again. If stopped, the same command
goes on where it was.
"""

import argparse
import sys
from pathlib import Path

from mmscratch.config import cpu_threads
from mmscratch.errors import InputError, one_line_errors
from mmscratch.miniature import data, plan, report
from mmscratch.miniature.claims import CLAIMS
from mmscratch.miniature.executor import Executor
from mmscratch.miniature.run import in_order

RESULTS = Path('results/miniature')
WORK_DIRS = Path('work_dirs/miniature')
MOST_JOBS = 8


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = [claim.number for claim in CLAIMS]
    parser.add_argument('--claim', type=int, nargs='+', choices=numbers, default=numbers)
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='default 3')
    # runs this small do not fill a GPU; on a CPU, one thread each is most efficient
    jobs = min(cpu_threads.cores(), MOST_JOBS)
    parser.add_argument(
        '--jobs', type=int, default=jobs, metavar='N', help=f'runs at a time, here {jobs}'
    )
    parser.add_argument(
        '--again',
        type=Path,
        metavar='FOLDER',
        help=f'repeat runs that {RESULTS} has too, with results and page in this folder',
    )
    parser.add_argument('--report', action='store_true', help='train nothing')
    args = parser.parse_args()
    if min(args.seeds, args.jobs) < 1:
        parser.error('--seeds and --jobs are at least 1')
    return args


def main() -> None:
    args = parse_args()
    if not Path(plan.DETECTOR).is_file():
        raise InputError(
            f'{plan.DETECTOR}: no such file here; run this at the root of the checkout'
        )
    chosen = [claim for claim in CLAIMS if claim.number in args.claim]
    runs = [run for claim in chosen for run in claim.of_seeds(range(args.seeds))]
    results_dir = args.again or RESULTS
    failed: dict[str, str] = {}
    if not args.report:
        data.draw(sorted({run.data for run in in_order(runs)}), workers=cpu_threads.cores())
        work_dirs = args.again / 'work_dirs' if args.again else WORK_DIRS
        executor = Executor(results_dir / report.RUNS, work_dirs, args.jobs)
        if not executor.missing(runs):
            print(f'{results_dir} has all of these runs; --again FOLDER trains them anew')
        failed = executor.execute(runs)
        # checkpoints that other claims need are kept
        executor.tidy([run for claim in CLAIMS for run in claim.of_seeds(range(args.seeds))])
    report.write(results_dir)
    if args.again:
        repeated, before = (report.collect(chosen, folder) for folder in (args.again, RESULTS))
        print(report.compare(repeated, before))
    for claim in chosen:
        results = report.collect([claim], results_dir)
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

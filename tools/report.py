"""One HTML page of any runs: curves, numbers, errors, best and worst images, facts and configs.

    python tools/report.py work_dirs/scratch/demo
    python tools/report.py work_dirs/scratch/RUN work_dirs/pretrained/RUN --out twins.html

Several runs are drawn together. The page is a single file that needs no network. Curves of
precision, errors and images come from the last checkpoint, which is run on the validation images of
its config; what it finds is stored in the work directory, so that the next page is quick. What a
folder lacks is left out, and the page says so.
"""

import argparse
import contextlib
import logging
from pathlib import Path

from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', type=Path, nargs='+', metavar='WORK_DIR')
    parser.add_argument('--out', type=Path, default=Path('report.html'), metavar='FILE')
    parser.add_argument('--best', action='store_true', help='of the best checkpoint, not the last')
    parser.add_argument(
        '--score', type=float, default=0.5, help='of detections in images and F1 (default 0.5)'
    )
    parser.add_argument(
        '--no-detections', action='store_true', help='run no checkpoint: curves and numbers alone'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from mmscratch.visualization import run_folder, run_report

    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(None):  # libraries tell of each file that they load
        runs = [run_folder.read(path, args.best, not args.no_detections) for path in args.work_dirs]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(run_report.page(runs, args.score), encoding='utf-8')
    for run in runs:
        for line in run.missing:
            print(f'{run.path}: {line}')
    print(args.out)


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on'):
        main()

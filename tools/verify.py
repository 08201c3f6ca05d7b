"""Verify a checkpoint or a release: its hashes, its weights, its config.

    python tools/verify.py zoo/mask_rcnn_r18_gn_600i_shapes-12345678.pth
    python tools/verify.py FILE --data DIR    # evaluate it, and compare with its .metrics.json

Nothing that is in the file is executed. For the evaluation its config gives model, data and metric,
the repository the rest. Exit status 2 and one line say what is wrong.
"""

import argparse
from pathlib import Path

from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('--data', type=Path, metavar='DIR', help='the data that it was tested on')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from mmscratch.weights import verification

    print('\n'.join(verification.verify(args.file)), flush=True)
    if args.data:
        print('\n'.join(verification.evaluate(args.file, args.data)))


if __name__ == '__main__':
    with one_line_errors():
        main()

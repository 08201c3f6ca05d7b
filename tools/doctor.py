"""Does the installation work? Versions, GPUs, a training step, an all-reduce, and cures.

    python tools/doctor.py
    python tools/doctor.py --json > doctor.json    # for a bug report

It also works where torch, mmcv or mmdet are missing or broken. Each check ends after three minutes
at the latest. The exit status is 1 if one has failed.
"""

import argparse
import json
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--json', action='store_true', help='write JSON, with all versions')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # mmscratch itself may not be installed
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from mmscratch.benchmark import installation
    from mmscratch.errors import one_line_errors

    with one_line_errors():
        done = []
        for outcome in installation.examine(installation.CHECKS):
            done.append(outcome)
            if not args.json:
                print('{status:8}{check}: {found}'.format(**outcome), flush=True)
                if outcome['cure']:
                    print(f'{"":8}cure: {outcome["cure"]}', flush=True)
        failed = [outcome['check'] for outcome in done if outcome['status'] == 'failed']
        if args.json:
            print(json.dumps(installation.circumstances() | dict(checks=done), indent=1))
        else:
            print(f'failed: {", ".join(failed)}' if failed else 'all is well')
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    main()

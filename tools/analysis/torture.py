"""Hurt short training runs in many ways, and let them go on: which end as the one that was not?

    python tools/analysis/torture.py --seconds 600 --out results/reliability/campaign.json

A run is the small config for 12 steps, on a CPU. It survives if it ends with the same bits in
weights and optimizer, and no process has left a traceback. What FILE has already is added to.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from mmscratch.errors import one_line_errors
from mmscratch.process import circumstances
from mmscratch.process.progress_bar import ProgressBar


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE')
    parser.add_argument('--seconds', type=float, default=600, help='no fault begins after so many')
    parser.add_argument('--tries', type=int, default=30, help='of each fault, if the time suffices')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    import torch

    from mmscratch.benchmark import torture

    facts = dict(
        command=f'torture.py --seconds {args.seconds:g} --tries {args.tries} --seed {args.seed}',
        hardware=circumstances.cpu(),
        torch=torch.__version__,
    )
    rows, parts = torture.read(args.out)
    parts.append(facts)
    with tempfile.TemporaryDirectory(prefix='mmscratch-torture-') as folder:
        campaign = torture.Campaign(Path(folder), args.seed)
        total = args.tries * len(torture.FAULTS)
        attempts = torture.campaign_rows(campaign, args.seconds, args.tries)
        for fault, attempt in ProgressBar(attempts, 'faults', total):
            torture.add(rows, fault, attempt)
            torture.save(args.out, rows, parts)
    failed = sum(row['tries'] - row['survived'] for row in rows.values())
    for row in torture.table_rows({'faults': [rows[number] for number in sorted(rows)]}):
        print(' | '.join(row))
    if failed:
        sys.exit(f'error: {failed} runs did not survive; {args.out} has what they said')


if __name__ == '__main__':
    with one_line_errors('interrupted; the file has what was tried so far'):
        main()

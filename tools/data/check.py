r"""Look at a folder of data before training: what is in it, what is wrong with it.

    python tools/data/check.py DIR
    python tools/data/check.py DIR --fix REPAIRED

It reads every layout that --data reads, and decodes each image. The lines in the terminal say
what stops training, what spoils results and what is good to know. The page (work_dirs/check/) has
also counts and distributions, images that resemble each other, and annotations before and after
augmentation. --fix writes a copy in COCO layout without the faults that can be repaired, and says
what it changed; DIR stays as it is.

The exit status is 1 if training would not start on DIR.
"""

import argparse
import sys
from pathlib import Path

from mmscratch.errors import one_line_errors

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, metavar='DIR', help='folder of images and annotations')
    parser.add_argument(
        '--page', type=Path, metavar='FILE', help='default: work_dirs/check/NAME_OF_DIR.html'
    )
    parser.add_argument('--fix', type=Path, metavar='OUT', help='write a repaired copy there')
    parser.add_argument(
        '--config',
        type=Path,
        default=CONFIG,
        help=f'whose augmentation is shown, and whose check is asked (default: {CONFIG.stem})',
    )
    parser.add_argument(
        '--near',
        type=int,
        default=40,
        metavar='BITS',
        help='of 256, in which hashes of nearly equal images differ at most (default: 40; -1: look '
        'for copies of files alone)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmscratch.visualization.folder_check import page
    from mmscratch.visualization.folder_check.folder_check import FolderCheck

    check = FolderCheck(args.data, args.config, args.near)
    file = args.page or Path('work_dirs/check', f'{args.data.resolve().name}.html')
    page.write(check, file)
    print('\n'.join(check.lines()))
    print(f'page: {file}')
    if args.fix:
        for line in check.fix(args.fix):
            print(line)
    sys.exit(bool(check.stops or check.refusal))


if __name__ == '__main__':
    with one_line_errors():
        main()

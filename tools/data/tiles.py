r"""Cut large images into tiles to train on, with their boxes and masks.

    python tools/data/tiles.py path/to/folder tiles/ --size 640
    python tools/train.py CONFIG --data tiles/
    python tools/test.py CONFIG CHECKPOINT --data path/to/folder --tiles 640
    python tools/infer.py CHECKPOINT IMAGES --tiles 640

The folder has any layout of train.py but PASCAL VOC's, the new one has COCO's. Boxes and masks end
at the tiles' borders. The test detects on tiles, merges, and evaluates whole images. A tile should
fit into the size that the config gives images, or it is shrunk. The data is checked first, as
before training.
"""

import argparse
from pathlib import Path

from mmscratch.data.tiles import convert
from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help='folder of any layout of train.py, but PASCAL VOC')
    parser.add_argument('out', type=Path, help='folder to write, new or empty')
    parser.add_argument(
        '--size', type=int, required=True, metavar='PX', help="a tile's side in pixels"
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.2,
        metavar='F',
        help='least share of the side that neighbours have in common (default 0.2)',
    )
    parser.add_argument(
        '--least-visible',
        type=float,
        default=0.3,
        metavar='F',
        help='an object of which a tile shows a smaller share is neither trained on nor counted '
        '(default 0.3)',
    )
    parser.add_argument(
        '--drop-bad-boxes',
        action='store_true',
        help='leave out boxes without area or outside of their image, in place of stopping at them',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    counts = convert(
        args.data, args.out, args.size, args.overlap, args.least_visible, args.drop_bad_boxes
    )
    for split, (images, tiles) in counts.items():
        print(f'{args.out / split}: {tiles:,} tiles of {images:,} images')


if __name__ == '__main__':
    with one_line_errors():
        main()

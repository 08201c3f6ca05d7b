r"""Draw a SHAPES data set: COCO layout, any number of images, any size, the same on every machine.

Usage:
    python tools/data/shapes.py data/shapes
    python tools/data/shapes.py data/hard --train 20000 --val 1000 --classes 12 --objects 4 12 \
        --occlusion 0.6 --contrast 0.35 --noise 20
    python tools/data/shapes.py data/wide --size 640 480 --classes star ring heart

After an interruption the same command continues; a finished data set stays as it is.
"""

import argparse
from dataclasses import fields
from typing import Any

from mmscratch.data.shapes.drawing import CLASSES, TEXTURES, ShapesConfig, generate
from mmscratch.errors import one_line_errors
from mmscratch.process import cpu_threads


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog=f'Classes: {" ".join(CLASSES)}. Textures: {" ".join(TEXTURES)}.',
    )
    parser.add_argument('out', help='folder of the data set')
    options: dict[str, dict[str, Any]] = {
        'train': dict(type=int, metavar='N', help='training images, 0 for none'),
        'val': dict(type=int, metavar='N', help='validation images, 0 for none'),
        'size': dict(type=int, nargs='+', metavar='PX', help='side, or W H'),
        'classes': dict(nargs='+', metavar='C', help='how many, or names'),
        'objects': dict(type=int, nargs=2, metavar=('MIN', 'MAX'), help='objects an image'),
        'object-size': dict(
            type=float,
            nargs=2,
            metavar=('MIN', 'MAX'),
            help='bounding circle, as a fraction of the shorter side',
        ),
        'rotation': dict(type=int, metavar='DEG', help='largest turn'),
        'occlusion': dict(type=float, metavar='F', help='largest hidden fraction, 0 to 0.9'),
        'contrast': dict(type=float, metavar='F', help='difference from the background, 0 to 1'),
        'noise': dict(type=int, metavar='N', help='in grey levels, 0 to 127'),
        'textures': dict(nargs='+', metavar='T', help="the objects' textures"),
        'seed': dict(type=int, metavar='N', help='seed of everything drawn'),
        'workers': dict(type=int, metavar='N', help='processes'),
    }
    for name, option in options.items():
        parser.add_argument(f'--{name}', **option)
    parser.set_defaults(train=400, val=100, workers=cpu_threads.cores(), **vars(ShapesConfig()))
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> ShapesConfig:
    """Turn the options into a configuration."""
    options = {field.name: getattr(args, field.name) for field in fields(ShapesConfig)}
    if len(args.size) == 1:
        options['size'] = args.size[0]
    if len(args.classes) == 1 and args.classes[0].isdecimal():
        options['classes'] = int(args.classes[0])
    return ShapesConfig(**options)


def main() -> None:
    """Draw the data set and say what it holds, as training does."""
    args = parse_args()
    splits = {'train': args.train, 'val': args.val}
    splits = {split: count for split, count in splits.items() if count}
    generate(args.out, read_config(args), splits, args.workers)

    # takes seconds to import, which --help and errors need not wait for
    from mmscratch.data import coco_check

    for split in splits:
        dataset = dict(
            data_root=args.out,
            ann_file=f'annotations/instances_{split}.json',
            data_prefix=dict(img=split),
        )
        print(*coco_check.check(dataset).lines(), sep='\n')


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on from here'):
        main()

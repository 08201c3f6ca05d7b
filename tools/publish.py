"""Release a checkpoint as model zoos do: weights without optimizer, config, numbers and log.

    python tools/publish.py work_dirs/demo/iter_250.pth release/

writes these files, where HASH is the beginning of the .pth's SHA-256:

    mask_rcnn_r18_gn_fast_shapes-HASH.pth           weights, config and class names
    mask_rcnn_r18_gn_fast_shapes-HASH.safetensors   the same content
    ....py, ....metrics.json, ....scalars.json      config, numbers and log of the run
    ....yml                                         entry for a metafile, also printed

tools/test.py, tools/infer.py and --init of tools/train.py accept either file of weights. A run
cannot be resumed from them.
"""

import argparse
from pathlib import Path

from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path, help='in the work directory of its run')
    parser.add_argument('out_dir', type=Path)
    parser.add_argument(
        '--name', help='name of the data set; default: the folder of the training data'
    )
    parser.add_argument(
        '--allow-unfinished',
        action='store_true',
        help='accept any checkpoint; default: only the last one of a run, or the best one of a run '
        'that has ended',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from mmscratch.weights.publish import publish

    files = publish(args.checkpoint, args.out_dir, args.name, args.allow_unfinished)
    print(*files, sep='\n')
    [index] = (file for file in files if file.suffix == '.yml')
    print('\n' + index.read_text(), end='')


if __name__ == '__main__':
    with one_line_errors():
        main()

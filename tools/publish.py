"""Release a checkpoint as model zoos do: weights without the optimizer, config, numbers, log.

    python tools/publish.py work_dirs/demo/iter_600.pth release/

writes release/mask_rcnn_r18_gn_600i_shapes-HASH.pth, where HASH begins what sha256sum says of it,
beside it the same as .safetensors, the config (.py), the run's metrics.json and log (.metrics.json,
.scalars.json) and an entry for a metafile (.yml), which is printed too. The weights, in either
file, serve tools/test.py, tools/infer.py and --init of tools/train.py; they cannot be resumed from.
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
        '--name', help='of the data set; default: the name of the folder of the training data'
    )
    parser.add_argument(
        '--allow-unfinished',
        action='store_true',
        help='take any checkpoint; else it is the last one of its run, or the best one of a run '
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

"""Take a training step again that broke, and look for the cause.

    python tools/analysis/replay.py work_dirs/.../bad_step.pt

A run whose loss or gradient is no longer finite has written this file, with the weights before the
step and its images. The tool says which loss broke, the first layer whose output, or else the first
weight whose gradient, is not finite, and which image and which box break it alone. It needs neither
the data nor the config. Nothing in the file is executed.
"""

import argparse
from pathlib import Path

from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('--device', help='such as cpu (default: a GPU, if there is one)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from mmengine.device import get_device

    import mmscratch.register_all  # noqa: F401
    from mmscratch.loops.replayed_step import ReplayedStep

    for line in ReplayedStep(args.file, args.device or get_device()).lines():
        print(line, flush=True)


if __name__ == '__main__':
    with one_line_errors():
        main()

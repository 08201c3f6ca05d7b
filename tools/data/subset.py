r"""Write a list of image ids, to train on those alone.

    # the old val35k, the paper's 35k images: what 2014's validation has and 2017's has not
    python tools/data/subset.py data/coco/val35k.json \
        --train data/coco/annotations/instances_train2017.json \
        --of data/coco/annotations/instances_val2014.json \
        --minus data/coco/annotations/instances_val2017.json

    # 1000 images by a seed, the same ones that subset=1000, subset_seed=0 means in a config
    python tools/data/subset.py few.json --train .../instances_train2017.json --number 1000

Train on it: --cfg-options train_dataloader.sampler.subset=data/coco/val35k.json. Images without an
object are left out, since training drops them.
"""

import argparse
import json
from pathlib import Path

from mmscratch.data import coco_json
from mmscratch.data.samplers.subset import ImageId, choose_ids, record_of
from mmscratch.errors import InputError, one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='JSON file to write')
    parser.add_argument('--train', type=Path, required=True, help='annotations to train on')
    parser.add_argument('--of', type=Path, help='take only images that are in this file')
    parser.add_argument('--minus', type=Path, help='leave out the images of this file')
    parser.add_argument('--number', type=int, help='draw so many of them')
    parser.add_argument('--seed', type=int, default=0, help='which ones (default 0)')
    return parser.parse_args()


def image_ids(file: Path) -> set[int]:
    """The ids of all images of an annotation file."""
    return {image['id'] for image in coco_json.load(file)['images']}


def choose(args: argparse.Namespace) -> tuple[list[ImageId], int]:
    """The ids, and the number of images that are left out since they have no object.

    Raises:
        InputError: nothing is left, fewer than asked for, or images that are not in ``--train``.
    """
    train = coco_json.load(args.train)
    known = {image['id'] for image in train['images']}
    meant = image_ids(args.of) if args.of else known
    if args.minus:
        meant -= image_ids(args.minus)
    if unknown := meant - known:
        raise InputError(
            f'{args.train}: lacks {len(unknown)} of the {len(meant)} images meant, the first is '
            f'{min(unknown)}; give the annotations that hold them all'
        )
    ids = sorted(meant & {annotation['image_id'] for annotation in train['annotations']})
    if not ids or (args.number or 1) > len(ids):
        raise InputError(
            f'{args.out}: {args.number or "no image is"} asked for, {len(ids)} with objects are '
            'there; ask for fewer, or of another file'
        )
    empty = len(meant) - len(ids)
    return (choose_ids(ids, args.number, args.seed) if args.number else ids), empty


def main() -> None:
    args = parse_args()
    if args.number is not None and args.number < 1:
        raise InputError(f'--number {args.number}: give 1 or more')
    ids, empty = choose(args)
    record = record_of(sorted(ids))
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record) + '\n')
    except OSError as error:
        raise InputError(
            f'{args.out}: cannot be written ({error.strerror}); name another file'
        ) from None
    print(f'{args.out}: {len(ids)} images, SHA-256 {record["sha256"]}')
    if empty:
        print(f'{empty} images without objects are left out')


if __name__ == '__main__':
    with one_line_errors():
        main()

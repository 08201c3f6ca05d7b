"""Draw the detections of a trained model on images.

    python tools/infer.py work_dirs/demo/iter_600.pth IMAGE_OR_FOLDER_OR_GLOB ... --out pictures/

The checkpoint knows its config and its class names. Pictures go to vis/ below --out, and to preds/
a JSON file an image: labels, names, scores, bboxes (x1, y1, x2, y2 in pixels), masks (COCO's RLE)
and keypoints (x, y, score), of all detections that the model keeps, whatever their score: at most
max_per_img of its config an image. Files that are no image, or broken, are skipped and told of.
"""

import argparse
import glob
import sys
from pathlib import Path

from tqdm import tqdm

from mmscratch.datasets.image_check import look_at_all
from mmscratch.errors import InputError, one_line_errors

SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='build the model from this config file, and import what it imports, in place of the '
        'config in the checkpoint, which is never executed',
    )
    parser.add_argument('inputs', nargs='+', help='images, folders or quoted globs')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/infer'), metavar='DIR')
    parser.add_argument(
        '--score', type=float, default=0.5, help='draw from this score (default 0.5)'
    )
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU if there is one')
    return parser.parse_args()


def find_images(inputs: list[str]) -> list[str]:
    """Files of the given names, folders and globs, in order, each once.

    Raises:
        InputError: an input that stands for no image.
    """
    images: list[str] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            # macOS leaves a hidden ._x.jpg beside x.jpg
            found = sorted(
                str(p)
                for p in path.iterdir()
                if p.suffix.lower() in SUFFIXES and not p.name.startswith('.')
            )
        else:
            found = [name] if path.is_file() else sorted(glob.glob(name))
        if not found:
            raise InputError(
                f'{name}: no image there; give image files, a folder of them or a glob'
            )
        images += found
    return list(dict.fromkeys(images))


def refuse_same_names(images: list[str]) -> None:
    """Results are named after images.

    Raises:
        InputError: two images of one name.
    """
    by_name: dict[str, str] = {}
    for image in images:
        other = by_name.setdefault(Path(image).stem, image)
        if other != image:
            raise InputError(
                f'{image}: results are named after images, and {other} has the same name; '
                'give them in separate calls with an --out each'
            )


def main() -> None:
    args = parse_args()
    images = find_images(args.inputs)
    facts = look_at_all([Path(image) for image in images])
    refuse_same_names([image for image, fact in zip(images, facts) if not fact.fault])

    from mmscratch.inferencer import Inferencer

    inferencer = Inferencer(
        model=args.config and str(args.config),
        weights=str(args.checkpoint),
        device=args.device,
        show_progress=False,
    )
    skipped = 0
    # one at a time: what is returned, the pictures among it, would pile up
    for image, fact in tqdm(zip(images, facts), total=len(images), unit='image'):
        try:
            if fact.fault:
                raise InputError(f'{image} {fact.fault}')
            inferencer(image, out_dir=str(args.out), pred_score_thr=args.score, no_save_pred=False)
        except InputError as error:
            skipped += 1
            tqdm.write(f'skipped: {error}', file=sys.stderr)
    print(
        f'{len(images) - skipped} pictures in {args.out / "vis"}, detections as JSON in '
        f'{args.out / "preds"}'
    )
    if skipped:
        raise InputError(
            f'{skipped} of {len(images)} files were skipped, see above: replace them, or leave '
            'them out'
        )


if __name__ == '__main__':
    with one_line_errors():
        main()

"""Draw the detections of a trained model on images.

    python tools/infer.py work_dirs/demo/iter_600.pth IMAGE_OR_FOLDER_OR_GLOB ... --out pictures/

The checkpoint knows its config and its class names. Pictures go to vis/ below --out, and to preds/
a JSON file an image: labels, names, scores, bboxes (x1, y1, x2, y2 in pixels), masks (COCO's RLE)
and keypoints (x, y, score), all detections whatever their score.
"""

import argparse
import glob
from pathlib import Path

from mmscratch import checkpoint
from mmscratch.errors import InputError, one_line_errors

SUFFIXES = {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('inputs', nargs='+', help='images, folders or quoted globs')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/infer'), metavar='DIR')
    parser.add_argument(
        '--score', type=float, default=0.5, help='draw from this score (default 0.5)'
    )
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU if there is one')
    return parser.parse_args()


def find_images(inputs: list[str]) -> list[str]:
    """Files of the given names, folders and globs, in order.

    Raises:
        InputError: an input that stands for no image, or two images of one name.
    """
    images: list[str] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        else:
            found = [name] if path.is_file() else sorted(glob.glob(name))
        if not found:
            raise InputError(
                f'{name}: no image there; give image files, a folder of them or a glob'
            )
        images += found
    by_name: dict[str, str] = {}
    for image in images:
        other = by_name.setdefault(Path(image).stem, image)
        if other != image:
            raise InputError(
                f'{image}: results are named after images, and {other} has the same name; '
                'give them in separate calls with an --out each'
            )
    return list(by_name.values())


def main() -> None:
    args = parse_args()
    images = find_images(args.inputs)
    checkpoint.load(args.checkpoint)  # says what is wrong with the file in one line

    from mmscratch.inferencer import Inferencer

    inferencer = Inferencer(weights=str(args.checkpoint), device=args.device, show_progress=True)
    inferencer(images, out_dir=str(args.out), pred_score_thr=args.score, no_save_pred=False)
    print(
        f'{len(images)} pictures in {args.out / "vis"}, detections as JSON in {args.out / "preds"}'
    )


if __name__ == '__main__':
    with one_line_errors():
        main()

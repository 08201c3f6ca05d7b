"""Draw the detections of a trained model on images.

    python tools/infer.py work_dirs/demo/iter_600.pth IMAGE_OR_FOLDER_OR_GLOB ... --out pictures/

The checkpoint knows its config and its class names. Pictures go to vis/ below --out, and to preds/
a JSON file an image: labels, names, scores, bboxes (x1, y1, x2, y2 in pixels), masks (COCO's RLE)
and keypoints (x, y, score), of all detections that the model keeps, whatever their score: at most
max_per_img of its config an image, or --max-detections. Files that are no image, or broken, are
skipped and told of; so are images in a folder that OpenCV cannot read or write.
"""

import argparse
import glob
import sys
from collections import Counter
from pathlib import Path

import cv2

from mmscratch.data.image_check import IMAGE_SUFFIXES, look_at_all
from mmscratch.data.progress_bar import ProgressBar
from mmscratch.errors import InputError, one_line_errors

# Other images, which some builds of OpenCV can read, and write pictures of the same name.
OTHER_SUFFIXES = {
    *('.arw', '.avif', '.cr2', '.cr3', '.dng', '.exr', '.gif', '.hdr', '.heic', '.heif', '.ico'),
    *('.j2k', '.jfif', '.jp2', '.jpe', '.jpx', '.jxl', '.mpo', '.nef', '.orf', '.pbm', '.pgm'),
    *('.pnm', '.ppm', '.psd', '.raw', '.rw2', '.svg', '.svgz', '.tga'),
}


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
    parser.add_argument(
        '--max-detections',
        type=int,
        metavar='N',
        help="of an image (default: max_per_img of the model's config)",
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
        path, remarks = Path(name), []
        if path.is_dir():
            found, remarks = images_in(path)
            if not found and (folders := sub_folders_with_images(path)):
                remarks.append(f'images are in its sub-folders: give {" ".join(folders)}')
        else:
            found = [name] if path.is_file() else sorted(glob.glob(name))
        if not found:
            remarks.append('give image files, a folder of them or a glob')
            raise InputError(f'{name}: no image there that can be used; {"; ".join(remarks)}')
        for remark in remarks:
            print(f'{name}: {remark}', file=sys.stderr)
        images += found
    return list(dict.fromkeys(images))


def images_in(folder: Path) -> tuple[list[str], list[str]]:
    """The images directly in a folder, and a remark on others that are passed over."""
    # macOS leaves a hidden ._x.jpg beside x.jpg
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith('.'))
    found, passed_over = [], Counter()
    for file in files:
        suffix = file.suffix.lower()
        if suffix in IMAGE_SUFFIXES or (suffix in OTHER_SUFFIXES and opencv_can(file)):
            found.append(str(file))
        elif suffix in OTHER_SUFFIXES:
            passed_over[suffix] += 1
    if not passed_over:
        return found, []
    names = ' or '.join(sorted(passed_over))
    return found, [
        f'passed over: {passed_over.total()} files with {names}, which this OpenCV cannot load, or '
        'cannot write under that name: convert them to PNG or JPEG'
    ]


def opencv_can(file: Path) -> bool:
    """Whether this build reads the file, and writes pictures of its name."""
    return cv2.haveImageReader(str(file)) and cv2.haveImageWriter(file.name)


def sub_folders_with_images(folder: Path) -> list[str]:
    """The first three below the folder, at any depth."""
    suffixes = {*IMAGE_SUFFIXES, *OTHER_SUFFIXES}
    files = (p.relative_to(folder) for p in sorted(folder.rglob('*')))
    visible = (p for p in files if not any(part.startswith('.') for part in p.parts))
    found = [str(folder / p.parent) for p in visible if p.suffix.lower() in suffixes]
    return list(dict.fromkeys(found))[:3]


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


def refuse_overwriting(images: list[str], out: Path) -> None:
    """Pictures have their image's file name.

    Raises:
        InputError: the picture of an image would take its place, or that of another one.
    """
    given = {Path(image).resolve(): image for image in images}
    for image in images:
        picture = out / 'vis' / Path(image).name
        if picture.resolve() in given:
            raise InputError(
                f'{given[picture.resolve()]}: a picture would be written over it; name another '
                'folder with --out'
            )


def main() -> None:
    args = parse_args()
    if args.config and not args.config.is_file():
        raise InputError(f'{args.config}: no such config file; correct --config')
    images = find_images(args.inputs)
    refuse_overwriting(images, args.out)
    facts = look_at_all([Path(image) for image in images])
    refuse_same_names([image for image, fact in zip(images, facts) if not fact.fault])

    from mmscratch.visualization.inferencer import Inferencer

    inferencer = Inferencer(
        model=args.config and str(args.config),
        weights=str(args.checkpoint),
        device=args.device,
        show_progress=False,
        max_detections=args.max_detections,
    )
    skipped = 0
    # one at a time: what is returned, the pictures among it, would pile up
    for image, fact in ProgressBar(zip(images, facts), 'images', len(images)):
        try:
            if fact.fault:
                raise InputError(f'{image} {fact.fault}')
            inferencer(image, out_dir=str(args.out), pred_score_thr=args.score, no_save_pred=False)
        except InputError as error:
            skipped += 1
            ProgressBar.write(f'skipped: {error}', file=sys.stderr)
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

"""Draw the detections of a trained model on images.

    python tools/infer.py work_dirs/demo/iter_250.pth IMAGE_OR_FOLDER_OR_GLOB ... --out pictures/

The checkpoint contains its config and its class names. Pictures are written to vis/ in --out. A
JSON file for each image is written to preds/: labels, names, scores, bboxes (x1, y1, x2, y2 in
pixels), masks (COCO's RLE) and keypoints (x, y, score). It lists all detections that the model
keeps, whatever their score: at most max_per_img of the config, or --max-detections. Files that are
broken or no images are skipped and listed, and so are images that OpenCV cannot read or write.
"""

import argparse
import glob
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2

from mmscratch import command_line
from mmscratch.config import work_dir
from mmscratch.data.image_check import IMAGE_SUFFIXES, look_at_all
from mmscratch.errors import InputError, one_line_errors
from mmscratch.process.progress_bar import ProgressBar


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='build the model from this config file, which is executed, in place of the config in '
        'the checkpoint, which never is',
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
    command_line.add_tile_options(parser)
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU if there is one')
    return parser.parse_args()


def find_images(inputs: list[str]) -> list[str]:
    """List the image files of names, folders and globs, in order, without duplicates.

    Raises:
        InputError: an input contains no image that can be used.
    """
    images: list[str] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found, remarks = images_in(path)
        else:
            found, remarks = [name] if path.is_file() else sorted(glob.glob(name)), []
        if not found:
            remarks.append('give image files, a folder of them or a glob')
            raise InputError(f'{name}: no image there that can be used; {"; ".join(remarks)}')
        for remark in remarks:
            print(f'{name}: {remark}', file=sys.stderr)
        images += found
    return list(dict.fromkeys(images))


def images_in(folder: Path) -> tuple[list[str], list[str]]:
    """List the images directly in a folder, and remarks on its other files."""
    usable = {file: is_image(file) for file in visible_files(folder.iterdir(), folder)}
    found = [str(file) for file, is_usable in usable.items() if is_usable]
    remarks = []
    if len(found) < len(usable):
        others = {file.suffix.lower() or 'no suffix' for file in usable if not usable[file]}
        remarks.append(
            f'skipped {len(usable) - len(found)} files with {" or ".join(sorted(others))}: '
            'no images, or of a format that this OpenCV does not read and write; convert those to '
            'PNG or JPEG'
        )
    if not found:
        images = filter(is_image, visible_files(folder.rglob('*'), folder))
        if nested := list(dict.fromkeys(str(image.parent) for image in images)):
            remarks.append(f'images are in its sub-folders: give {" ".join(nested[:3])}')
    return found, remarks


def is_image(file: Path) -> bool:
    """Whether it is an image that can be read and written, by its name or by OpenCV."""
    # OpenCV looks into a file to read it, and at its name to write it
    opencv_can = cv2.haveImageReader(str(file)) and cv2.haveImageWriter(file.name)
    return file.suffix.lower() in IMAGE_SUFFIXES or opencv_can


def visible_files(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Sort the files, without hidden ones: macOS leaves a ._x.jpg beside x.jpg."""
    return [
        path
        for path in sorted(paths)
        if path.is_file() and not any(p.startswith('.') for p in path.relative_to(folder).parts)
    ]


def check_outputs(images: list[str], usable: list[str], out: Path) -> None:
    """Check the files to be written, which have the names of the usable images.

    Raises:
        InputError: a picture would replace one of ``images``, or two images have one name.
    """
    given = {Path(image).resolve(): image for image in images}
    by_name: dict[str, str] = {}
    for image in usable:
        picture = (out / 'vis' / Path(image).name).resolve()
        if picture in given:
            raise InputError(
                f'{given[picture]}: a picture would be written over it; name another folder with '
                '--out'
            )
        other = by_name.setdefault(Path(image).stem, image)
        if other != image:
            raise InputError(
                f'{image}: results are named after images, and {other} has the same name; '
                'run the tool for each, with another --out'
            )


def main() -> None:
    args = parse_args()
    if args.config and not args.config.is_file():
        raise InputError(f'{args.config}: no such config file; correct --config')
    work_dir.require_writable(args.out, '--out')
    images = find_images(args.inputs)
    facts = look_at_all([Path(image) for image in images])
    usable = [image for image, fact in zip(images, facts) if not fact.fault]
    check_outputs(images, usable, args.out)

    from mmscratch.data import sensor_match
    from mmscratch.evaluation.inferencer import Inferencer

    inferencer = Inferencer(
        model=args.config and str(args.config),
        weights=str(args.checkpoint),
        device=args.device,
        show_progress=False,
        max_detections=args.max_detections,
        tiles=args.tiles,
        overlap=args.overlap,
    )
    loader = inferencer.loader
    if not loader.channels:
        facts = [replace(fact, fault=fact.fault or fact.not_for_opencv) for fact in facts]
    sound = {Path(image): fact for image, fact in zip(images, facts) if not fact.fault}
    remarks = sensor_match.file_remarks([*sound.values()], loader)
    remarks += sensor_match.value_remarks(
        [*sound], loader, inferencer.cfg.model.get('data_preprocessor') or {}
    )
    for remark in remarks:
        print(f'warning: {remark}', file=sys.stderr)
    skipped = 0
    # one call an image: the inferencer collects the pictures of a call in memory
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
            f'{skipped} of {len(images)} files were skipped, see above: replace or remove them'
        )


if __name__ == '__main__':
    with one_line_errors():
        main()

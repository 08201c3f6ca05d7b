r"""Label images by a trained detector, to train another one on them (self-training).

    # the teacher learns from 48 of the 60 labelled images; the other 12 choose the thresholds
    python tools/train.py CONFIG --data DIR --work-dir teacher \
        --cfg-options train_dataloader.sampler.subset=48
    python tools/data/pseudo_labels.py teacher/iter_N.pth --data DIR --labelled 60 --out DIR2
    # the student, from scratch
    python tools/train.py CONFIG --data DIR2

All other training images of DIR get the teacher's detections as labels; their own are not used.
With --images those of another folder get them. A detection becomes a label from a score that is
chosen for each class: that of the highest F1, at IoU 0.5, on labelled images that the teacher has
not seen.

DIR2 has COCO layout. Its instances_train.json has the labelled images and the others, whose objects
have a score and pseudo: 1. Images and validation data are links. labelled.json has the ids of the
labelled images, the thresholds, and the teacher's SHA-256. If the teacher has no masks, DIR2 has no
segmentations, and instances_val.json is a copy without them. With --data DIR2 half of the images of
a step are labelled ones (train_dataloader.sampler.labelled_share).
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import cpu_threads

if TYPE_CHECKING:
    from mmscratch.evaluation.pseudo_labels import Threshold


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path, help='the teacher, in its work directory')
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help="the teacher's data"
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR2', help='folder to write')
    parser.add_argument(
        '--labelled',
        metavar='N|FILE',
        help='all labelled images: a number, of which the subset of the teacher is a smaller draw, '
        'or a file of ids, as tools/data/subset.py writes it (default: those that the teacher was '
        'trained on)',
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='label this folder of images')
    parser.add_argument(
        '--threshold',
        type=threshold,
        metavar='auto|X',
        help='score from which a detection becomes a label (default: auto)',
    )
    parser.add_argument(
        '--held-out',
        choices=['labelled', 'val'],
        default='labelled',
        help='choose the thresholds on labelled images that the teacher has not seen (default), or '
        'on the validation images, whose results are then optimistic',
    )
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='images at a time')
    parser.add_argument('--workers', type=int, default=min(4, cpu_threads.cores()), metavar='N')
    parser.add_argument('--device', help='such as cuda:0 or cpu; default: a GPU if there is one')
    return parser.parse_args()


def threshold(text: str) -> float | None:
    """A score between 0 and 1; None for auto."""
    if text == 'auto':
        return None
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def main() -> None:
    args = parse_args()
    if args.out.exists():
        raise InputError(f'{args.out}: exists; remove it, or name another folder with --out')

    from mmscratch.evaluation import pseudo_labels
    from mmscratch.evaluation.inferencer import Inferencer
    from mmscratch.weights import checkpoint
    from mmscratch.weights.initialization import link

    meta = checkpoint.load(args.checkpoint).get('meta', {})
    division = pseudo_labels.divide(args.data, args.checkpoint, meta, args.labelled)
    rows, folder = division.unlabelled, division.image_dir
    if args.images:
        folder = args.images
        rows, faults = pseudo_labels.images_below(folder, division)
        for fault in faults:
            print(f'skipped: {fault}', file=sys.stderr)
    if not rows:
        raise InputError(
            f'{args.data}: all of its training images are labelled; name a folder of others with '
            '--images, or fewer labelled ones with --labelled'
        )
    judged = pseudo_labels.held_out(args.data, division, args.held_out == 'val')
    if args.threshold is None and not judged.ids:
        raise InputError(
            f'{args.checkpoint}: has seen all labelled images, so that none can choose the '
            'thresholds: name more with --labelled FILE, or take --held-out val, or --threshold X'
        )
    inferencer = Inferencer(weights=str(args.checkpoint), device=args.device, show_progress=False)
    classes = inferencer.model.dataset_meta['classes']
    thresholds = dict.fromkeys(classes, pseudo_labels.Threshold(args.threshold or 0))
    if args.threshold is None:
        found = pseudo_labels.detect(inferencer, judged.files, args.batch_size, args.workers)
        thresholds = pseudo_labels.choose_thresholds(judged, list(found), classes)
        print(f'thresholds, chosen on {len(judged.ids)} {judged.which}:')
        print('\n'.join(describe(name, chosen) for name, chosen in thresholds.items()))
    files = [folder / row['file_name'] for row in rows]
    labels = list(pseudo_labels.detect(inferencer, files, args.batch_size, args.workers))
    if pseudo_labels.drops_masks(division, labels):
        print('the teacher has no masks: segmentations of labelled and validation images left out')
    record = dict(
        teacher=dict(
            link('teacher', str(args.checkpoint), args.checkpoint, meta), parent=meta['preflight']
        ),
        held_out=judged.which if args.threshold is None else None,
        thresholds={name: asdict(chosen) for name, chosen in thresholds.items()},
    )
    images = list(zip(rows, labels))
    counts = pseudo_labels.write(
        args.out, args.data, division, images, args.images, thresholds, record
    )
    print(
        f'{args.out}: {len(division.labelled)} labelled images, and {len(rows)} others with '
        f'{counts.total()} pseudo labels ('
        + ', '.join(f'{name} {counts[name]}' for name in classes)
        + f'); train on both with --data {args.out}'
    )


def describe(name: str, chosen: 'Threshold') -> str:
    """Say a class's threshold in a line."""
    text = (
        f'  {name}: {chosen.score:.3f}, F1 {chosen.f1:.2f} (precision {chosen.precision:.2f}, '
        f'recall {chosen.recall:.2f}) of {chosen.objects} objects'
    )
    return text + (', that of all classes together' if chosen.is_pooled else '')


if __name__ == '__main__':
    with one_line_errors():
        main()

"""Is this COCO data set what it should be? Answered before training starts.

Every fault that would stop or silently spoil a run raises an :class:`InputError` naming the file,
how many entries are at fault, the first of them and the cure. What MMDetection copes with by
itself is counted and told in the :class:`DataReport`.

What MMDetection 3.3.0 does was read in its mmdet/datasets/coco.py and
mmdet/datasets/transforms/loading.py: boxes without overlap with the image, without area or
thinner than 1 pixel are left out of training, labels follow the order of the JSON's category
list (not the ids), `filter_empty_gt` drops images without any annotation.
"""

import itertools
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmscratch.datasets import coco_json, voc_check
from mmscratch.datasets.box_table import BoxTable
from mmscratch.datasets.coco_json import Rows
from mmscratch.datasets.data_report import DataReport
from mmscratch.datasets.image_check import ImageFacts, look_at_all, remarks
from mmscratch.errors import InputError


def check(
    annotation_file: Path,
    image_dir: Path | None,
    drop_bad_boxes: bool = False,
    filter_cfg: Mapping[str, Any] | None = None,
) -> DataReport:
    """Check one split; without `image_dir` only the annotation file.

    `drop_bad_boxes` counts boxes outside the image or without area instead of refusing them.
    `filter_cfg` is that of the config's dataset: it decides what becomes of empty images.
    """
    images, annotations, categories, sha256 = coco_json.load(annotation_file)
    table = BoxTable(images, annotations, categories, annotation_file)
    notes = table.check(drop_bad_boxes)
    notes += filter(None, [coco_json.check_masks(images, annotations, annotation_file)])
    notes += _empty_images(images, annotations, table.usable, filter_cfg)
    facts = _check_files(images, annotation_file, image_dir) if image_dir else {}
    notes += remarks(facts.values())
    return DataReport(
        annotation_file=annotation_file,
        sha256=sha256,
        images=len(images),
        annotations=len(annotations),
        masks=sum(bool(row.get('segmentation')) for row in annotations),
        rle_masks=sum(
            isinstance(row.get('segmentation'), dict) and not row['iscrowd'] for row in annotations
        ),
        instances=table.instances(),
        sizes=table.sizes(),
        notes=notes,
        fingerprints={fact.fingerprint: name for name, fact in facts.items() if fact.fingerprint},
    )


def check_config(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> list[DataReport]:
    """Check the data of `cfg`; the reports are in the order of `splits`.

    What is trained on and what is not have to fit together. The config's own key `drop_bad_boxes`
    is that of :func:`check`. Of PASCAL VOC it is asked only whether its files are there; other
    datasets without a JSON file are passed over.
    """
    reports: dict[str, list[DataReport]] = {split: [] for split in splits}
    for split, checked in reports.items():
        for dataset in _leaves((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            file = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
            if dataset.get('type') in ('VOCDataset', 'VOCWithDifficult'):
                voc_check.check(dataset)
            if file.suffix != '.json':
                continue
            images = (dataset.get('data_prefix') or {}).get('img', '')
            image_dir = Path(dataset.get('data_root') or '', images)
            filter_cfg = None if dataset.get('test_mode') else dataset.get('filter_cfg')
            checked.append(check(file, image_dir, cfg.get('drop_bad_boxes', False), filter_cfg))
    for train, val in itertools.product(reports.get('train', []), reports.get('val', [])):
        check_same_classes(train, val)
        val.note_copies_of(train)
    return [report for checked in reports.values() for report in checked]


def _leaves(dataset: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The datasets that read files, inside of any wrappers."""
    if not dataset:
        return
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if inner == [None]:
        yield dataset
    for item in inner:
        yield from _leaves(item)


def _empty_images(
    images: Rows,
    annotations: Rows,
    usable: np.ndarray,
    filter_cfg: Mapping[str, Any] | None,
) -> list[str]:
    """What becomes of images without objects, and of those under the size limit."""
    filter_cfg = filter_cfg or {}
    drops = filter_cfg.get('filter_empty_gt', False)
    annotated = {row['image_id'] for row in annotations}
    with_objects = {row['image_id'] for row, use in zip(annotations, usable) if use}
    notes = []
    if empty := len(images) - len(annotated):
        fate = 'dropped (filter_empty_gt=True)' if drops else 'kept'
        notes.append(f'{empty} of {len(images)} images are without objects: {fate}')
    if rest := len(annotated) - len(with_objects):
        notes.append(f'{rest} images have nothing but crowds, ignored or left-out boxes: kept')
    least = filter_cfg.get('min_size', 0)
    if small := sum(min(image['width'], image['height']) < least for image in images):
        notes.append(f'{small} images have a side under {least} pixels: dropped (min_size)')
    return notes


def _check_files(images: Rows, file: Path, image_dir: Path) -> dict[str, ImageFacts]:
    """Every image is there, whole, and of the size the JSON says; returns its facts by name."""
    names = [image['file_name'] for image in images]
    missing = _missing(names, image_dir)
    if missing:
        raise InputError(
            f'{file}: {len(missing)} of {len(names)} images are not in {image_dir}, the first is '
            f"'{missing[0]}'{_hint(missing[0], image_dir)}; add the files, or correct file_name "
            f'(it is relative to that folder)'
        )
    facts = look_at_all([image_dir / name for name in names])
    faults = [(name, fact.fault) for name, fact in zip(names, facts) if fact.fault]
    if faults:
        name, fault = faults[0]
        raise InputError(
            f'{image_dir / name} {fault}; {len(faults)} of {len(names)} images are unusable: '
            f'replace them, or remove them from {file}'
        )
    wrong = [
        (image, fact)
        for image, fact in zip(images, facts)
        if (image['width'], image['height']) != (fact.width, fact.height)
    ]
    if wrong:
        image, fact = wrong[0]
        raise InputError(
            f'{file}: {len(wrong)} images have another size than it says, the first is '
            f"'{image['file_name']}': {image['width']} x {image['height']} in the JSON, "
            f'{fact.width} x {fact.height} when loaded (EXIF rotation included); '
            f'correct width and height, and check the boxes'
        )
    return dict(zip(names, facts))


def _missing(names: Sequence[str], image_dir: Path) -> list[str]:
    """Names without a file: one listing a folder, since a stat a file is slow on network disks."""
    parts = [os.path.split(name) for name in names]
    present = {}
    for parent in {parent for parent, _ in parts}:
        folder = image_dir / parent
        present[parent] = set(os.listdir(folder)) if folder.is_dir() else set()
    return [name for name, (parent, base) in zip(names, parts) if base not in present[parent]]


def _hint(name: str, image_dir: Path) -> str:
    """The file that is there under nearly the same name, and what to do; '' without one."""
    found = image_dir
    for part in Path(name).parts:
        entries = sorted(os.listdir(found)) if found.is_dir() else []
        near = [entry for entry in entries if _folded(entry) == _folded(part)]
        if not near:
            return ''
        found /= part if part in near else near[0]
    there = found.relative_to(image_dir).as_posix()
    if unicodedata.normalize('NFC', there) != unicodedata.normalize('NFC', name):
        return f", and '{there}' is there: letter case counts; rename one as the other"
    return (
        f", and '{there}' is there: the same letters, in another Unicode normalisation (macOS and "
        f'zip files change it); rename the files by "convmv -r --notest -f utf8 -t utf8 '
        f'--{_form(name)} {image_dir}"'
    )


def _folded(name: str) -> str:
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


def _form(name: str) -> str:
    return 'nfc' if unicodedata.is_normalized('NFC', name) else 'nfd'


def check_same_classes(train: DataReport, val: DataReport) -> None:
    """MMDetection numbers the labels by each file's own category list, so the lists must agree."""
    if train.classes == val.classes:
        return
    odd = sorted(set(train.classes) ^ set(val.classes))
    if odd:
        raise InputError(
            f"{val.annotation_file}: {len(odd)} category names, the first is '{odd[0]}', are in "
            f'only one of this file and {train.annotation_file}; give both the same categories'
        )
    raise InputError(
        f'{val.annotation_file}: lists its categories in another order than '
        f'{train.annotation_file}, so labels would be swapped; use one order in both'
    )

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

from mmscratch.config.detection_limit import note_crowded_images
from mmscratch.data import coco_json, repoint, voc_check
from mmscratch.data.box_table import IGNORED, THIN, BoxTable
from mmscratch.data.coco_json import Rows
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_check import ImageFacts, look_at_all, remarks
from mmscratch.data.image_decoding import decode_all
from mmscratch.data.mask_table import MaskTable
from mmscratch.errors import InputError


def check(
    annotation_file: Path,
    image_dir: Path | None,
    drop_bad_boxes: bool = False,
    filter_cfg: Mapping[str, Any] | None = None,
    pipeline: Sequence[Mapping[str, Any]] = (),
    decode: bool = False,
) -> DataReport:
    """Check one split; without `image_dir` only the annotation file.

    Args:
        annotation_file: the JSON.
        image_dir: the folder of its images.
        drop_bad_boxes: whether boxes outside the image or without area are counted in place of
            being refused.
        filter_cfg: of the config's dataset; it decides what becomes of empty and of small images.
        pipeline: of the config's dataset; where it loads masks, objects without are no objects.
        decode: whether each image is decoded, as the pipeline does it, unless it was once before.

    Raises:
        InputError: a fault that would stop or spoil a run.
    """
    images, annotations, categories, sha256 = coco_json.load(annotation_file)
    table = BoxTable(images, annotations, categories, annotation_file)
    notes = table.check(drop_bad_boxes)
    masks = MaskTable(images, annotations, annotation_file)
    notes += masks.notes()
    to_find = table.usable | table.reasons[THIN] | table.reasons[IGNORED]
    _leave_out_masks(table, masks, pipeline)
    notes += _empty_images(images, annotations, table.usable, filter_cfg)
    _leave_out_small(table, images, filter_cfg)
    facts = {}
    if image_dir:
        facts = _check_files(images, annotation_file, image_dir, pipeline if decode else ())
    notes += remarks(facts.values())
    return DataReport(
        annotation_file=annotation_file,
        sha256=sha256,
        images=len(images),
        annotations=len(annotations),
        masks=int(masks.usable.sum()),
        without_masks=int((~masks.given).sum()),
        rle_masks=int((masks.rle & ~table.crowd.astype(bool)).sum()),
        to_find=int(to_find.sum()),
        instances=table.instances(),
        sizes=table.sizes(),
        left_out={why: int(left.sum()) for why, left in table.reasons.items() if left.any()},
        notes=notes,
        crowding=table.crowding(),
        fingerprints={fact.fingerprint: name for name, fact in facts.items() if fact.fingerprint},
    )


def check_config(
    cfg: Config, splits: Sequence[str] = ('train', 'val'), decode: bool = False
) -> list[DataReport]:
    """Check the data of `cfg`; the reports are in the order of `splits`.

    What is trained on and what is not have to fit together. The config's own key `drop_bad_boxes`,
    and `decode`, are those of :func:`check`. Of PASCAL VOC it is asked only whether its files are
    there; other datasets without a JSON file are passed over.
    """
    reports: dict[str, list[DataReport]] = {split: [] for split in splits}
    for split, checked in reports.items():
        for dataset in _leaves((cfg.get(f'{split}_dataloader') or {}).get('dataset')):
            file = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
            if dataset.get('type') in ('VOCDataset', 'VOCWithDifficult', 'VocWithDifficultDataset'):
                voc_check.check(dataset)
            if file.suffix != '.json':
                continue
            images = (dataset.get('data_prefix') or {}).get('img', '')
            image_dir = Path(dataset.get('data_root') or '', images)
            filter_cfg = None if dataset.get('test_mode') else dataset.get('filter_cfg')
            report = check(
                file,
                image_dir,
                cfg.get('drop_bad_boxes', False),
                filter_cfg,
                dataset.get('pipeline') or (),
                decode,
            )
            report.refuse_nothing(split)
            checked.append(report)
    for train, val in itertools.product(reports.get('train', []), reports.get('val', [])):
        check_same_classes(train, val)
        val.note_copies_of(train)
    for split in {'val', 'test'}.intersection(splits):
        _check_coco_metric(cfg, split)
        for report in reports[split]:
            note_crowded_images(cfg, split, report)
    return [report for checked in reports.values() for report in checked]


def _check_coco_metric(cfg: Config, split: str) -> None:
    """Refuse ids that MMDetection's own CocoMetric, which is pycocotools', takes for others.

    Measured with pycocotools 2.0 and numpy 2.4: ids below 0 or beyond 2**63 are fine, unless a
    list has both, which numpy makes floats.
    """
    for metric in repoint.walk(cfg.get(f'{split}_evaluator')):
        if repoint.type_name(metric) != 'CocoMetric' or not metric.get('ann_file'):
            continue
        images, annotations, categories, _ = coco_json.load(Path(metric['ann_file']))
        category_ids = [row['id'] for row in categories]
        if any(row['id'] == 0 for row in annotations):
            # evaluateImg in cocoeval.py stores the id of the matched object, 0 for none
            fault = 'an annotation has the id 0, which it takes for "not found"'
        elif any(
            np.array([row['id'] for row in rows]).dtype == float for rows in (images, categories)
        ):
            fault = 'ids of images or categories lie on both sides of 2**63, which it rounds'
        elif metric.get('classwise') and category_ids != sorted(category_ids):
            fault = 'category ids do not ascend, so that its AP of a class would be that of another'
        else:
            continue
        raise InputError(
            f"{metric['ann_file']}: not for MMDetection's CocoMetric ({split}_evaluator): {fault}; "
            f"use type='FullCocoMetric' (custom_imports: mmscratch.register_all), or number anew"
        )


def _leaves(dataset: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The datasets that read files, inside of any wrappers."""
    if not dataset:
        return
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if inner == [None]:
        yield dataset
    for item in inner:
        yield from _leaves(item)


def _leave_out_masks(
    table: BoxTable, masks: MaskTable, pipeline: Sequence[Mapping[str, Any]]
) -> None:
    """Where masks are loaded, MMDetection ignores objects whose mask it cannot load.

    Raises:
        InputError: no object has a mask that covers a pixel.
    """
    loaders = [step for step in repoint.walk(pipeline) if step.get('with_mask')]
    if not loaders:
        return
    table.leave_out(masks.given & ~masks.usable, 'masks have no polygon of 3 points')
    single = masks.usable & ~table.crowd.astype(bool)
    if single.any() and masks.empty[single].all():
        raise InputError(
            f'{table.file}: there is no mask to train on or to find: {masks.empty_ones()}'
        )
    if any(step.get('poly2mask') is False for step in loaders):
        table.leave_out(masks.rle, 'masks are RLEs, and poly2mask=False takes polygons alone')


def _leave_out_small(table: BoxTable, images: Rows, filter_cfg: Mapping[str, Any] | None) -> None:
    """`min_size` drops images, and with them their objects."""
    if least := (filter_cfg or {}).get('min_size', 0):
        small = {image['id'] for image in images if min(image['width'], image['height']) < least}
        objects = np.array([row['image_id'] in small for row in table.annotations])
        table.leave_out(objects, f'are on images with a side under {least} pixels (min_size)')


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


def _check_files(
    images: Rows, file: Path, image_dir: Path, pipeline: Sequence[Mapping[str, Any]]
) -> dict[str, ImageFacts]:
    """Every image is there, whole, and of the size the JSON says; returns its facts by name.

    By a `pipeline` that is not empty each is decoded, too.
    """
    names = [image['file_name'] for image in images]
    missing = _missing(names, image_dir)
    if missing:
        raise InputError(
            f'{file}: {len(missing)} of {len(names)} images are not in {image_dir}, the first is '
            f"'{missing[0]}'{_hint(missing[0], image_dir)}; add the files, or correct file_name "
            f'(it is relative to that folder)'
        )
    paths = [image_dir / name for name in names]
    facts = look_at_all(paths)
    faults = [(name, fact.fault) for name, fact in zip(names, facts) if fact.fault]
    if not faults and pipeline:
        decoded = decode_all(image_dir, paths, pipeline)
        faults = [(name, fault) for name, fault in zip(names, decoded) if fault]
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
        spaces = len({name.strip() for name in odd}) < len(odd)
        raise InputError(
            f'{val.annotation_file}: {len(odd)} category names, the first is {odd[0]!r}, are in '
            f'only one of this file and {train.annotation_file}; give both the same categories'
            + ', also in the white space around their names'
            * spaces
        )
    raise InputError(
        f'{val.annotation_file}: lists its categories in another order than '
        f'{train.annotation_file}, so labels would be swapped; use one order in both'
    )

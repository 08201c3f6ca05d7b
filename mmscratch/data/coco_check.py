"""Checks a COCO data set before training starts.

Every fault that would stop or silently spoil a run raises an :class:`InputError` naming the file,
how many entries are at fault, the first of them and the cure. The :class:`DataReport` counts what
MMDetection handles by itself.

What MMDetection 3.3.0 does was read in its mmdet/datasets/coco.py and
mmdet/datasets/transforms/loading.py: boxes without overlap with the image, without area or
thinner than 1 pixel are left out of training, labels follow the order of the JSON's category
list (not the ids), `filter_empty_gt` drops images without any annotation.
"""

import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from mmscratch.config.sections import as_list, type_name, walk
from mmscratch.data import coco_json, repoint
from mmscratch.data.box_table import IGNORED, THIN, BoxTable
from mmscratch.data.coco_json import Rows
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_check import ImageFacts, folded
from mmscratch.data.image_decoding import check_images
from mmscratch.data.mask_table import MaskTable
from mmscratch.errors import InputError

RECORD = 'source.json'  # beside what `exports` keeps


def check(
    dataset: Mapping[str, Any], drop_bad_boxes: bool = False, decode: bool = False
) -> DataReport:
    """Check the annotation file and the images of a CocoDataset's config.

    Args:
        dataset: the config. Its ``filter_cfg`` says whether empty and small images are dropped. If
            its pipeline loads masks, objects without one do not count.
        drop_bad_boxes: count boxes outside the image or without area, do not refuse them.
        decode: decode each image as the pipeline does, unless an earlier check did.

    Raises:
        InputError: a fault that would stop or spoil a run.
    """
    pipeline, file = dataset.get('pipeline') or (), repoint.annotation_path(dataset)
    content = coco_json.load(file)
    table = BoxTable(content['images'], content['annotations'], content['categories'], file)
    notes = [*table.check(drop_bad_boxes), *content.masks.notes()]
    to_find = table.usable | table.reasons[THIN] | table.reasons[IGNORED]
    _leave_out_masks(table, content.masks, pipeline)
    filter_cfg = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
    notes += table.leave_out_images(filter_cfg, np.ones_like(table.usable))
    facts = _check_files(content['images'], file, repoint.image_dir(dataset), pipeline, decode)
    return table.report(
        facts,
        sha256=content.sha256,
        to_find=int(to_find.sum()),
        masks=int(content.masks.usable.sum()),
        notes=notes,
    )


def check_metric(cfg: Config, split: str) -> None:
    """Refuse ids that MMDetection's CocoMetric, which uses pycocotools, mistakes for others.

    Measured with pycocotools 2.0 and numpy 2.4: ids below 0 or beyond 2**63 are fine, unless a
    list has both, which numpy makes floats.
    """
    for metric in walk(cfg.get(f'{split}_evaluator')):
        if type_name(metric) != 'CocoMetric' or not metric.get('ann_file'):
            continue
        content = coco_json.load(metric['ann_file'])
        images, categories = content['images'], content['categories']
        category_ids = [row['id'] for row in categories]
        if any(row['id'] == 0 for row in content['annotations']):
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


def check_metric_file(cfg: Config, split: str) -> None:
    """Refuse a metric whose file has other images under the ids of the data set's file.

    Each split's ids often begin at 1, so that a wrong file yields numbers, and wrong ones. A file
    with the same images and other content is named in a warning.
    """
    files = {
        os.path.realpath(file): file
        for dataset in repoint.datasets(cfg, split)
        if (file := repoint.annotation_path(dataset)).suffix == '.json'
    }
    for metric in as_list(cfg.get(f'{split}_evaluator')):
        truth = metric.get('ann_file') or ''
        is_coco = type_name(metric) in ('CocoMetric', 'FullCocoMetric', 'CocoKeypointMetric')
        if not is_coco or not truth.endswith('.json') or os.path.realpath(truth) in files:
            continue
        content = coco_json.load(truth)
        images = {row['id']: _image(row) for row in content['images']}
        for file in files.values():
            own = coco_json.load(file)
            for row in own['images']:
                if (image := images.get(row['id'], _image(row))) != _image(row):
                    raise InputError(
                        f'{truth}: {split}_evaluator reads this file, whose image {row["id"]} is '
                        f"{image}; in the data set's file, {file}, it is {_image(row)}; give both "
                        'the same ann_file'
                    )
            if own.sha256 != content.sha256:
                print_log(
                    f'{truth}: {split}_evaluator reads this file, and the data set {file}: AP is '
                    'that of the former',
                    logger='current',
                    level=logging.WARNING,
                )


def _image(row: Mapping[str, Any]) -> str:
    return f'{row["file_name"]} of {row["width"]} x {row["height"]} pixels'


def _leave_out_masks(
    table: BoxTable, masks: MaskTable, pipeline: Sequence[Mapping[str, Any]]
) -> None:
    """Leave out objects whose mask cannot be loaded, as MMDetection does where it loads masks.

    Raises:
        InputError: no object has a mask that covers a pixel.
    """
    loaders = [step for step in walk(pipeline) if step.get('with_mask')]
    if not loaders:
        return
    table.leave_out(masks.given & ~masks.usable, 'masks have no polygon of 3 points')
    single = masks.usable & ~table.crowd
    if single.any() and masks.empty[single].all():
        raise InputError(
            f'{table.file}: there is no mask to train on or to find: {masks.empty_ones()}'
        )
    if any(step.get('poly2mask') is False for step in loaders):
        table.leave_out(masks.rle, 'masks are RLEs, and poly2mask=False takes polygons alone')


def _check_files(
    images: Rows, file: Path, image_dir: Path, pipeline: Sequence[Mapping[str, Any]], decode: bool
) -> dict[str, ImageFacts]:
    """Check that every image exists, is whole and has the size of the JSON; return facts by name.

    With `decode` each is decoded by the pipeline, too.
    """
    names = [image['file_name'] for image in images]
    # names of what `exports` keeps may lead out of the folder, as those in its sources may
    absent = missing(names, image_dir, file.with_name(RECORD).is_file())
    if absent:
        raise InputError(
            f'{file}: {len(absent)} of {len(names)} images are not in {image_dir}, the first is '
            f"'{absent[0]}'{_hint(absent[0], image_dir)}; add the files, or correct file_name "
            f'(it is relative to that folder)'
        )
    paths = [image_dir / name for name in names]
    facts = check_images(image_dir, paths, pipeline, decode)
    if faults := [(name, fact.fault) for name, fact in zip(names, facts) if fact.fault]:
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


def missing(names: Sequence[str], image_dir: Path, may_lead_out: bool = False) -> list[str]:
    """Names without a file in the folder, or, unless they may, with one that lies outside of it.

    One listing a folder: a stat of each file is slow on network disks.
    """
    parts = [os.path.split(name) for name in names]
    present = {}
    for parent in {parent for parent, _ in parts}:
        folder = image_dir / parent
        is_there = os.path.isdir(folder) and (may_lead_out or not _leads_out(parent))
        present[parent] = set(os.listdir(folder)) if is_there else set()
    return [name for name, (parent, base) in zip(names, parts) if base not in present[parent]]


def _leads_out(path: str) -> bool:
    return os.path.isabs(path) or os.path.normpath(path).split(os.sep)[0] == '..'


def _hint(name: str, image_dir: Path) -> str:
    """Name the file that exists under nearly the same name, and the cure; '' if there is none."""
    if _leads_out(name):
        return ', which leads out of it'
    found = image_dir
    for part in Path(name).parts:
        entries = sorted(os.listdir(found)) if found.is_dir() else []
        near = [entry for entry in entries if folded(entry) == folded(part)]
        if not near:
            return ''
        found /= part if part in near else near[0]
    there = found.relative_to(image_dir).as_posix()
    if unicodedata.normalize('NFC', there) != unicodedata.normalize('NFC', name):
        return f", and '{there}' is there: letter case counts; rename one as the other"
    form = 'nfc' if unicodedata.is_normalized('NFC', name) else 'nfd'
    return (
        f", and '{there}' is there: the same letters, in another Unicode normalisation (macOS and "
        f'zip files change it); rename the files by "convmv -r --notest -f utf8 -t utf8 '
        f'--{form} {image_dir}"'
    )

"""Data of any layout: point a config at a folder, and check what it reads.

COCO and PASCAL VOC are read as they are. All other layouts are kept as COCO by ``exports``.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config import detection_limit
from mmscratch.config.sections import as_list, type_name
from mmscratch.data import (
    coco_check,
    coco_folder,
    coco_json,
    repoint,
    sensor,
    voc_check,
    voc_folder,
)
from mmscratch.data.data_report import DataReport
from mmscratch.data.exports import cache
from mmscratch.errors import InputError

_KNOWN = (
    'COCO (annotations/instances_{train,val}.json, train/, val/), Roboflow '
    '(train/_annotations.coco.json, valid/), CVAT (annotations/instances_default.json or '
    'annotations.xml, images/), '
    'Label Studio (result.json, images/), one COCO JSON and its images, YOLO (data.yaml, obj.data, '
    'images/ and labels/, or labels beside images and classes.txt), LabelMe (a JSON beside each '
    'image), PASCAL VOC (Annotations/*.xml, JPEGImages/, ImageSets/Main/)'
)


def find(root: str | os.PathLike, faulty: bool = False) -> dict[str, dict[str, Any]]:
    """Find the data of a folder of any layout.

    Args:
        root: the folder.
        faulty: whether to take an export some of whose images or labels cannot be read.

    Returns:
        What the data sets of 'train' and of 'val' read: data_root, ann_file, data_prefix.
        ``ann_file`` is a COCO JSON, or a list of names in PASCAL VOC layout.

    Raises:
        InputError: the folder has no layout that is known, or its files are at fault.
    """
    root = Path(root)
    if voc_folder.recognises(root):
        return voc_folder.find(root)
    if coco_folder.recognises(root):
        return coco_folder.find(root)
    if export := cache.recognise(root):
        return cache.keep(export, faulty)
    if any(root.glob('annotations/instances_*.json')):
        return coco_folder.find(root)  # which says what is missing
    raise InputError(f'{_describe(root)} in one of these layouts: {_KNOWN}')


def find_coco(root: Path) -> dict[str, dict[str, Any]]:
    """Find data whose annotations are a COCO JSON, as all are but those in PASCAL VOC layout.

    Raises:
        InputError: as of :func:`find`, or the folder is in that layout.
    """
    if voc_folder.recognises(root):
        raise InputError(f'{root}: is in PASCAL VOC layout, which does not do here; give another')
    return find(root)


def images_of(root: Path) -> Path:
    """The folder of the training images; where one folder has all images, that of all.

    Raises:
        InputError: the folder has no layout that is known.
    """
    train = find(root)['train']
    folder = repoint.image_dir(train)
    if not train['ann_file'].endswith('.json') or train['data_prefix']['img']:
        return folder
    names = [row['file_name'] for row in coco_json.load(repoint.annotation_path(train))['images']]
    return folder / os.path.commonpath([os.path.dirname(name) for name in names])


def are_apart(root: Path) -> bool:
    """Whether no validation image is in the folder of the training images, or in folders of it.

    Raises:
        InputError: the folder has no layout that is known.
    """
    val = find(root)['val']
    folder, training = repoint.image_dir(val), os.path.normpath(images_of(root))
    if not val['ann_file'].endswith('.json'):
        return os.path.normpath(folder) != training
    names = [row['file_name'] for row in coco_json.load(repoint.annotation_path(val))['images']]
    paths = [Path(os.path.normpath(folder / name)) for name in names]
    return not any(path.is_relative_to(training) for path in paths)


def _describe(root: Path) -> str:
    """What is wrong with a folder of no layout that is known."""
    if not root.is_dir():
        return f'{root}: no such folder; give --data a folder'
    for below in sorted(path for path in root.iterdir() if path.is_dir()):
        with contextlib.suppress(InputError):
            if cache.recognise(below):
                return (
                    f'{root}: no layout that is known, but {below} has one: give that, or a folder'
                )
    if xml := next(itertools.chain(root.glob('*.xml'), root.glob('[!.]*/*.xml')), None):
        return (
            f'{root}: no layout that is known, but XML such as {xml.relative_to(root)}; move files '
            'of PASCAL VOC to Annotations/, images to JPEGImages/, and list their names in '
            'ImageSets/Main/train.txt and val.txt, or export COCO; give a folder'
        )
    return f'{root}: no layout that is known; {repoint.describe_folder(root)}; give a folder'


def use_folder(cfg: Config, root: str | os.PathLike, **options: Any) -> None:
    """Make a config train and evaluate on a folder: ``--data DIR`` of the tools.

    Classes and the sizes of the heads follow the annotations; loader, normalization and first layer
    follow the images (:func:`mmscratch.data.sensor.fit`, whose options are taken).

    Example::

        cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
        use_folder(cfg, 'my_images')
        check(cfg)

    Raises:
        InputError: the folder has no layout that is known, its annotation files are at fault, or
            the config cannot use such data.
    """
    root = Path(root)
    if voc_folder.recognises(root):
        voc_folder.use(cfg, root)
    else:
        folder = find(root)
        with _sources_named(map(repoint.annotation_path, folder.values())):
            coco_folder.use(cfg, root, folder)
    sensor.fit(cfg, **options)


@contextlib.contextmanager
def _sources_named(files: Iterable[Path]) -> Iterator[None]:
    """Let messages about files that ``exports`` keeps tell what they were made from."""
    try:
        yield
    except InputError as fault:
        raise InputError(cache.name_sources(str(fault), files)) from None


def check(
    cfg: Config, splits: Sequence[str] = ('train', 'val'), decode: bool = False
) -> list[DataReport]:
    """Check all data that a config reads. The reports are in the order of the splits.

    The config's own key ``drop_bad_boxes`` counts bad boxes in place of refusing them. Of PASCAL
    VOC's own archives it is only checked that the files exist. Other formats are passed over.

    Args:
        cfg: the config.
        splits: of 'train', 'val' and 'test'.
        decode: whether to decode each image that was not decoded before.

    Raises:
        InputError: there are faults. The message has those of all data sets.
    """
    faults: list[str] = []

    @contextlib.contextmanager
    def collected() -> Iterator[None]:
        try:
            yield
        except InputError as fault:
            faults.append(str(fault))

    read = [dataset for split in splits for dataset in repoint.datasets(cfg, split)]
    files = [repoint.annotation_path(dataset) for dataset in read]
    reports: dict[str, list[DataReport]] = {split: [] for split in splits}
    for split, found in reports.items():
        for dataset in repoint.datasets(cfg, split):
            with collected():
                if report := _check_dataset(dataset, cfg.get('drop_bad_boxes', False), decode):
                    report.refuse_if_no_objects(split)
                    found.append(report)
        with collected():
            coco_check.check_metric(cfg, split)
        with collected():
            coco_check.check_metric_file(cfg, split)
    for train, val in itertools.product(reports.get('train', []), reports.get('val', [])):
        with collected():
            val.compare_with(train)
    if faults:
        raise InputError(cache.name_sources('; '.join(dict.fromkeys(faults)), files))
    for split in {'val', 'test'}.intersection(splits):
        for report in reports[split]:
            report.note_crowding(*detection_limit.limits(cfg, split))
    return [report for found in reports.values() for report in found]


def _check_dataset(
    dataset: Mapping[str, Any], drop_bad_boxes: bool, decode: bool
) -> DataReport | None:
    """Check one data set; None for an archive of VOC and for other formats."""
    name = type_name(dataset)
    if name == 'VocFolderDataset':
        return voc_check.check(dataset, drop_bad_boxes, decode)
    if name in ('VOCDataset', 'VocWithDifficultDataset'):
        voc_check.check_archive(dataset)
    elif str(dataset.get('ann_file')).endswith('.json'):
        report = coco_check.check(dataset, drop_bad_boxes, decode)
        if source := cache.source_of(report.annotation_file):
            report.notes += source.lines(report.annotation_file)
        return report
    return None


def share_parsed_files(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> None:
    """Give parsed annotation files to the data sets and metrics that are built from `cfg`.

    A file's content is freed with its last reader, and at once if there is none.
    """
    # imports MMDetection, which a tool's --help and errors need not wait for
    from mmscratch.data import coco_api

    awaited = [
        metric['ann_file']
        for split in splits
        for metric in as_list(cfg.get(f'{split}_evaluator'))
        if metric.get('ann_file')
    ]
    read = [
        repoint.annotation_path(dataset)
        for split in splits
        for dataset in repoint.datasets(cfg, split)
    ]
    coco_json.keep([*awaited, *read])
    coco_api.install(awaited)

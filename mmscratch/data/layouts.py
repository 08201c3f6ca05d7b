"""The one door for data: use a folder of any layout, check what a config reads.

A new layout is a module with ``recognises(root)`` and ``use(cfg, root)``, named in ``LAYOUTS``. If
it has a data set of its own, ``_check_dataset`` names its check.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config

from mmscratch.config.detection_limit import note_crowded_images
from mmscratch.config.sections import as_list, type_name
from mmscratch.data import coco_check, coco_folder, coco_json, repoint, voc_check, voc_folder
from mmscratch.data.data_report import DataReport
from mmscratch.errors import InputError

# The first that recognises a folder counts; COCO's takes the rest and says what is missing.
LAYOUTS = (voc_folder, coco_folder)


def use_folder(cfg: Config, root: str | os.PathLike) -> None:
    """Make a config train and evaluate on a folder: ``--data DIR`` of the tools.

    Classes and the sizes of the heads follow the annotations.

    Example::

        cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
        use_folder(cfg, 'my_images')
        check(cfg)

    Raises:
        InputError: the folder has none of the ``LAYOUTS``, its annotation files are at fault, or
            the config cannot use such data.
    """
    _layout(Path(root)).use(cfg, Path(root))


def find(root: Path) -> dict[str, dict[str, Any]]:
    """What the data sets of each split read of a folder: data_root, ann_file, data_prefix.

    Raises:
        InputError: the folder has none of the ``LAYOUTS``.
    """
    return _layout(root).find(root)


def _layout(root: Path) -> ModuleType:
    return next(layout for layout in LAYOUTS if layout.recognises(root))


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
        raise InputError('; '.join(dict.fromkeys(faults)))
    for split in {'val', 'test'}.intersection(splits):
        for report in reports[split]:
            note_crowded_images(cfg, split, report)
    return [report for found in reports.values() for report in found]


def _check_dataset(
    dataset: Mapping[str, Any], drop_bad_boxes: bool, decode: bool
) -> DataReport | None:
    """Check one data set; None for an archive of VOC and for other formats."""
    name = type_name(dataset)
    if name == 'VocFolderDataset':
        return voc_check.check(dataset, drop_bad_boxes, decode)
    if name in ('VOCDataset', 'VOCWithDifficult', 'VocWithDifficultDataset'):
        voc_check.check_archive(dataset)
    elif str(dataset.get('ann_file')).endswith('.json'):
        return coco_check.check(dataset, drop_bad_boxes, decode)
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

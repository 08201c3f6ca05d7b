"""Points any config at a folder in PASCAL VOC layout.

The layout is what LabelImg and the like write: ``Annotations/*.xml``, ``JPEGImages/`` and lists of
names in ``ImageSets/Main/``.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config.sections import type_name
from mmscratch.data import repoint, voc_check, voc_xml
from mmscratch.errors import InputError

# The lists of each split; the first that is there counts.
_LISTS = {'train': ('train.txt', 'trainval.txt'), 'val': ('val.txt', 'test.txt')}
# Of VOCMetric at IoU 0.5.
_NUMBERS = ('pascal_voc/mAP', 'pascal_voc/AP50')


def recognises(root: Path) -> bool:
    """Whether the folder, or one at most two levels below, is in VOC layout and not in COCO's."""
    return root.is_dir() and 'annotations' not in _folders(root) and bool(_candidates(root))


def find(root: Path) -> dict[str, dict[str, Any]]:
    """Find the VOC folder that `root` is or holds, and its lists.

    Returns:
        What the data sets of 'train' and of 'val' read: data_root, ann_file, data_prefix.

    Raises:
        InputError: there are several such folders, or a folder or list is missing.
    """
    found = _candidates(root)
    if len(found) > 1:
        names = ', '.join(str(folder.relative_to(root)) for folder in found)
        raise InputError(
            f'{root}: holds {len(found)} folders in PASCAL VOC layout: {names}; give --data one'
        )
    folder = found[0]
    for name in ('JPEGImages', 'ImageSets/Main'):
        if not (folder / name).is_dir():
            raise InputError(
                f'{folder / name}: no such folder, and PASCAL VOC layout has it; '
                f'{repoint.describe_folder(folder)}: add or rename it'
            )
    lists: dict[str, str] = {}
    for split, choices in _LISTS.items():
        files = [f'ImageSets/Main/{choice}' for choice in choices]
        file = next((file for file in files if (folder / file).is_file()), None)
        if file is None:
            raise InputError(
                f'{folder / "ImageSets/Main"}: neither {" nor ".join(choices)}; write the names of '
                f'the {split} images into {choices[0]}, one a line, without suffix'
            )
        lists[split] = file
    return {
        split: dict(data_root=str(folder), ann_file=file, data_prefix=dict(sub_data_root=''))
        for split, file in lists.items()
    }


def use(cfg: Config, root: Path) -> None:
    """Make `cfg` train and evaluate on a folder.

    Classes are those of the XML files of the training list, sorted; head sizes follow. A config
    with masks becomes its box-only twin; VOC's mAP at IoU 0.5, the area under the curve, takes the
    place of COCO's numbers. Raises InputError for a config that cannot use such data, and, if the
    training list leads to no object, for what is wrong with its files. The data are not checked
    otherwise.
    """
    folder = find(root)
    if repoint.keypoint_datasets(cfg):
        raise InputError(
            f'{cfg.filename}: trains on keypoints, and {root} is in PASCAL VOC layout, '
            f'which has none; give --data a folder in COCO layout, or use a config of boxes'
        )
    if any(node.get('with_mask') for node in repoint.annotation_loaders(cfg)):
        repoint.become_box_only(cfg, repoint.annotation_path(folder['train']))
    classes = _classes(folder['train'])
    metainfo = dict(classes=classes, palette=repoint.palette(len(classes)))
    repoint.repoint_config(cfg, folder, metainfo, 'VocFolderDataset')
    for split in ('train', 'val', 'test'):
        for dataset in repoint.datasets(cfg, split):
            # MMDetection's VOC configs leave out boxes under 32 pixels; a folder in COCO layout
            # keeps them
            (dataset.get('filter_cfg') or {}).pop('bbox_min_size', None)
            if split != 'train':
                dataset['pipeline'] = list(_with_ground_truth(dataset['pipeline']))
    for split in ('val', 'test'):
        if repoint.known_metrics(cfg, split):
            cfg[f'{split}_evaluator'] = dict(type='VOCMetric', eval_mode='area')
    repoint.rename_watched(
        cfg, lambda name: name if '/' not in name or name in _NUMBERS else _NUMBERS[0]
    )
    repoint.register_all(cfg)


def _folders(root: Path) -> list[str]:
    """Names of sub-folders as they are on disk; some systems ignore letter case when asked."""
    with os.scandir(root) as entries:  # pathlib would look at each file
        return sorted(entry.name for entry in entries if entry.is_dir())


def _candidates(root: Path, levels: int = 2) -> list[Path]:
    """Folders in VOC layout: `root` itself, else those at most `levels` below."""
    names = _folders(root)
    if 'Annotations' in names and {'JPEGImages', 'ImageSets'} & {*names}:
        return [root]
    below = [root / name for name in names] if levels else []
    return [found for folder in below for found in _candidates(folder, levels - 1)]


def _classes(reads: dict[str, Any]) -> tuple[str, ...]:
    """The classes of the XML files of a list, sorted."""
    names = voc_xml.read_names(repoint.annotation_path(reads))
    files = voc_xml.find_files(Path(reads['data_root'], 'Annotations'), names, ('.xml',))
    xml = (voc_xml.read(files[name]) for name in names if name in files)
    classes = sorted({item.name for found in xml for item in found.objects})
    if not classes:
        # something is wrong with the files: say what
        voc_check.check(dict(reads, metainfo=dict(classes=())))
    return tuple(classes)


def _with_ground_truth(pipeline: list[dict]) -> Iterator[dict]:
    """The pipeline with its boxes loaded last, in pixels of the file: VOCMetric takes them so.

    CocoMetric reads its own file. Its configs may load boxes before resizing, or not at all.
    """
    for step in pipeline:
        if step is pipeline[-1]:
            yield dict(type='LoadAnnotations', with_bbox=True)
        if type_name(step) != 'LoadAnnotations':
            yield step

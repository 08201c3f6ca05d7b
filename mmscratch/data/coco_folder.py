"""Points any config at any folder in COCO layout."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config.registered_classes import accepted_arguments, classes_named
from mmscratch.config.sections import type_name, walk
from mmscratch.data import coco_json, repoint
from mmscratch.data.coco_json import CocoJson
from mmscratch.data.data_report import refuse_other_classes
from mmscratch.errors import InputError

SPLITS = ('train', 'val')
_SUFFIXES = ('', '2017', '2014')  # Ours, then COCO's own names.
# Ids of the labelled images in a folder of tools/data/pseudo_labels.py.
LABELLED = 'labelled.json'
# OKS's sigma for keypoints whose own is not known: in the middle of COCO's, 0.025 to 0.107.
_UNKNOWN_SIGMA = 0.05


def recognises(root: Path) -> bool:
    """Whether there are annotation files of both splits.

    With images/ in place of the folders train/ and val/ they are of CVAT's subsets of such names.
    """
    return any(
        all(file.is_file() for file in _files(root, suffix).values())
        and not ((root / 'images').is_dir() and not (root / f'train{suffix}').is_dir())
        for suffix in _SUFFIXES
    )


def _files(root: Path, suffix: str) -> dict[str, Path]:
    return {s: root / 'annotations' / f'instances_{s}{suffix}.json' for s in SPLITS}


def find(root: Path) -> dict[str, dict[str, Any]]:
    """Find annotations/instances_{train,val}.json with train/, val/, or COCO's own names.

    Returns:
        What the data sets of 'train' and of 'val' read: data_root, ann_file, data_prefix.

    Raises:
        InputError: a folder or a file is missing.
    """
    for suffix in _SUFFIXES:
        files = _files(root, suffix)
        if all(file.is_file() for file in files.values()):
            break
    else:
        names = ', '.join(f'instances_{{train,val}}{suffix}.json' for suffix in _SUFFIXES)
        raise InputError(
            f'{root / "annotations"}: no pair {names.replace(", i", " or i")}; '
            f'{repoint.describe_folder(root / "annotations", root)}: rename or add the files'
        )
    for split in SPLITS:
        image_dir = root / f'{split}{suffix}'
        if not image_dir.is_dir():
            raise InputError(
                f'{image_dir}: no such folder, but {files[split].name} needs it; '
                f'{repoint.describe_folder(root)}: put the {split} images there, or link it'
            )
    return {
        split: dict(
            data_root=str(root),
            ann_file=f'annotations/{file.name}',
            data_prefix=dict(img=f'{split}{suffix}/'),
        )
        for split, file in files.items()
    }


def use(cfg: Config, root: Path, folder: dict[str, dict[str, Any]]) -> None:
    """Make `cfg` train and evaluate on a folder; classes and head sizes follow the annotations.

    `folder` says what the data sets read, as :func:`find` does.

    A config with masks becomes its box-only twin where no annotation has a segmentation. Number,
    names and mirror pairs of keypoints follow the annotations too; for a config with keypoints
    person_keypoints_{train,val}.json are read where the instances_ files have none. Raises
    InputError for faults of the annotation files, and for a config that cannot use such data.
    Boxes and images are not checked.
    """
    keypoints = repoint.keypoint_datasets(cfg)
    if keypoints:
        folder = _with_keypoint_files(folder)
    train, val = (coco_json.load(repoint.annotation_path(folder[split])) for split in SPLITS)
    if any(node.get('with_mask') for node in repoint.annotation_loaders(cfg)):
        _settle_masks(cfg, [train, val])
    refuse_other_classes(val.file, val.classes, train.file, train.classes)
    metainfo = dict(classes=train.classes, palette=repoint.palette(len(train.classes)))
    if keypoints:
        metainfo |= _keypoint_metainfo([train, val], keypoints[0].get('metainfo') or {})
    repoint.repoint_config(cfg, folder, metainfo, 'CocoDataset')
    _mix_pseudo_labels(cfg, root)
    for split in ('val', 'test'):
        _repoint_evaluator(cfg, split, val.file)
    for head in walk(cfg.model):
        if 'num_keypoints' in head:
            head['num_keypoints'] = len(metainfo['keypoint_names'])


def _mix_pseudo_labels(cfg: Config, root: Path) -> None:
    """Let the sampler know the labelled images of a folder of tools/data/pseudo_labels.py."""
    record, sampler = root / LABELLED, (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if record.is_file() and type_name(sampler) == 'InfiniteSubsetSampler':
        sampler.setdefault('labelled', str(record))


def _with_keypoint_files(folder: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The folder with COCO's person_keypoints_ files, if only those have keypoints."""
    renamed = {
        split: dict(reads, ann_file=reads['ann_file'].replace('instances', 'person_keypoints'))
        for split, reads in folder.items()
    }
    if all(repoint.annotation_path(reads).is_file() for reads in renamed.values()):
        instances = coco_json.load(repoint.annotation_path(folder['val']))
        if not any('keypoints' in row for row in instances['categories']):
            return renamed
    return folder


def _keypoint_metainfo(files: Sequence[CocoJson], given: Mapping[str, Any]) -> dict[str, Any]:
    """Names, mirror pairs and sigmas of the keypoints of the annotation files.

    Where the names are those of the config, pairs and sigmas are the config's, too.
    """
    from mmscratch.data.coco_keypoint_dataset import CocoKeypointDataset, flip_pairs

    named = [(file, row) for file in files for row in file['categories'] if row.get('keypoints')]
    for content in files:
        if not any(content is file for file, _ in named):
            raise InputError(
                f'{content.file}: no category has keypoints, and the config trains a keypoint '
                f"head; give each category of such objects the list 'keypoints' of their names, "
                f"and the objects 'keypoints' [x, y, visibility, ...]"
            )
    first = named[0][1]
    for content, row in named:
        if len(row['keypoints']) != len(first['keypoints']):
            raise InputError(
                f"{content.file}: category '{row['name']}' has {len(row['keypoints'])} "
                f"keypoints, '{first['name']}' {len(first['keypoints'])}; name as many for "
                f'all, and give 0, 0, 0 for those an object lacks'
            )
    names = list(first['keypoints'])
    known = {**CocoKeypointDataset.METAINFO, **given}
    keys = ('keypoint_names', 'flip_pairs', 'keypoint_sigmas')
    if names == list(known['keypoint_names']):
        return {key: known[key] for key in keys}
    pairs = flip_pairs(names)
    print_log(
        f'{files[0].file}: {len(names)} keypoints, {len(pairs)} pairs of '
        f"left_... and right_... that a mirror swaps; OKS takes {_UNKNOWN_SIGMA} for each one's "
        f'sigma (metainfo.keypoint_sigmas)',
        logger='current',
        level=logging.INFO,
    )
    return dict(zip(keys, (names, pairs, [_UNKNOWN_SIGMA] * len(names))))


def _settle_masks(cfg: Config, files: Sequence[CocoJson]) -> None:
    """Keep masks if all objects have one, train on boxes alone if none has, refuse the rest.

    Polygons of fewer than 3 points are no masks. MMDetection leaves out objects that have no other
    one; the check of the data says how many.
    """
    if not any(content.masks.usable.any() for content in files):
        repoint.become_box_only(cfg, files[0].file)
        return
    for content in files:
        masks = content.masks
        if not (masks.given.all() and masks.usable.any()):
            fault = 'no segmentation has a polygon of 3 points'
            if missing := int((~masks.given).sum()):
                fault = f'{missing} of {masks.given.size} annotations have no segmentation'
            raise InputError(
                f'{content.file}: {fault}; add them, train a box detector such as Faster R-CNN, or '
                'remove the masks of all objects in both splits'
            )
    rows = (row for content in files for row in content['annotations'])
    if any(isinstance(row.get('segmentation'), dict) and not row.get('iscrowd') for row in rows):
        # poly2mask=False is for polygons: MMDetection ignores each object with an RLE then.
        for node in repoint.annotation_loaders(cfg):
            node.pop('poly2mask', None)


def _repoint_evaluator(cfg: Config, split: str, annotation_file: Path) -> None:
    for metric in repoint.known_metrics(cfg, split):
        # 'proposal' and 'proposal_fast' are of an RPN alone, and of MMDetection's metric
        proposals = 'proposal' in str(metric.get('metric'))
        if type_name(metric) in repoint.METRICS and not proposals:
            _become_full_coco_metric(cfg, metric)
        metric['ann_file'] = str(annotation_file)


def _become_full_coco_metric(cfg: Config, metric: ConfigDict) -> None:
    """MMDetection's metrics do not take all ids, and mix up classes whose ids do not ascend."""
    repoint.register_all(cfg)
    name = type_name(metric)
    given = dict(metric)
    if name == 'CocoMetric':
        # proposal_nums have another meaning there
        [ours] = classes_named('val_evaluator', 'FullCocoMetric')
        taken = {'_scope_', *accepted_arguments(ours)[0]} - {'proposal_nums'}
        kept = {key: value for key, value in given.items() if key in {'type', *taken}}
        dropped = [f'{key}={given[key]!r}' for key in given if key not in kept]
        if dropped:
            print_log(
                f'{cfg.filename}: CocoMetric becomes FullCocoMetric, without {", ".join(dropped)}: '
                "COCO's own thresholds and numbers count, --max-detections raises the last one",
                logger='current',
                level=logging.WARNING,
            )
    else:
        masks = any(node.get('with_mask') for node in repoint.annotation_loaders(cfg))
        kept = dict(metric=['bbox', 'segm'] if masks else ['bbox'])
        # COCO's metric has no number of the name that VOC's has
        repoint.rename_watched(
            cfg, lambda n: 'coco/bbox_mAP' if '/' in n and not n.startswith('coco/') else n
        )
    metric.clear()
    metric.update(kept, type='FullCocoMetric')

"""Point any config at any folder in COCO layout: ``--data DIR`` of the tools."""

import colorsys
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.datasets.coco_check import check_folder
from mmscratch.datasets.data_report import DataReport
from mmscratch.errors import InputError

SPLITS = ('train', 'val')
_SUFFIXES = ('', '2017', '2014')  # Ours, then COCO's own names.
_LOADERS = {'train_dataloader': 'train', 'val_dataloader': 'val', 'test_dataloader': 'val'}

# MMDetection's data sets of boxes (and masks) in single images: their configs can read COCO too.
_DATASETS = (
    'CocoDataset',
    'CityscapesDataset',
    'CrowdHumanDataset',
    'DSDLDetDataset',
    'DeepFashionDataset',
    'LVISV05Dataset',
    'LVISV1Dataset',
    'Objects365V1Dataset',
    'Objects365V2Dataset',
    'OpenImagesChallengeDataset',
    'OpenImagesDataset',
    'V3DetDataset',
    'VOCDataset',
    'WIDERFaceDataset',
)
_METRICS = (
    'CocoMetric',
    'CityScapesMetric',
    'CrowdHumanMetric',
    'LVISMetric',
    'OpenImagesMetric',
    'VOCMetric',
)
# Detectors that are box detectors without their mask branch, and what they are called then. A
# Faster R-CNN may load masks too, with a pipeline that it shares.
_BOX_TWINS = {
    'MaskRCNN': 'FasterRCNN',
    'CascadeRCNN': 'CascadeRCNN',
    'FasterRCNN': 'FasterRCNN',
}
_TWIN_ROI_HEADS = (
    'StandardRoIHead',
    'CascadeRoIHead',
    'SingleMaskCascadeRoIHead',
    'KeypointRoIHead',
)
# OKS's sigma for keypoints whose own is not known: in the middle of COCO's, 0.025 to 0.107.
_UNKNOWN_SIGMA = 0.05


@dataclass(frozen=True)
class CocoFolder:
    """A data set on disk: an annotation file and an image folder for 'train' and for 'val'."""

    root: Path
    annotation_files: dict[str, Path]
    image_dirs: dict[str, Path]


def find(root: Path) -> CocoFolder:
    """Find annotations/instances_{train,val}.json with train/, val/, or COCO's own names.

    Raises InputError for a missing folder or file.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f'{root}: no such folder; give --data a folder in COCO layout')
    for suffix in _SUFFIXES:
        files = {s: root / 'annotations' / f'instances_{s}{suffix}.json' for s in SPLITS}
        if all(file.is_file() for file in files.values()):
            break
    else:
        names = ', '.join(f'instances_{{train,val}}{suffix}.json' for suffix in _SUFFIXES)
        raise InputError(
            f'{root / "annotations"}: no pair {names.replace(", i", " or i")}; '
            f'{_contents(root / "annotations", root)}: rename or add the files'
        )
    image_dirs = {split: root / f'{split}{suffix}' for split in SPLITS}
    for split, image_dir in image_dirs.items():
        if not image_dir.is_dir():
            raise InputError(
                f'{image_dir}: no such folder, but {files[split].name} needs it; '
                f'{_contents(root)}: put the {split} images there, or link it'
            )
    return CocoFolder(root, files, image_dirs)


def _contents(*folders: Path) -> str:
    """What is in the first of the folders that exists."""
    folder = next(folder for folder in folders if folder.is_dir())
    names = sorted(path.name + '/' * path.is_dir() for path in folder.iterdir())
    more = f' and {len(names) - 8} more' if len(names) > 8 else ''
    return f'{folder} holds {", ".join(names[:8]) or "nothing"}{more}'


def point_config_at(
    cfg: Config, folder: CocoFolder, reports: Mapping[str, DataReport] | None = None
) -> None:
    """Make `cfg` train and evaluate on `folder`; classes and head sizes follow the annotations.

    A config with masks becomes its box-only twin where no annotation has a segmentation. Number,
    names and mirror pairs of keypoints follow the annotations too; for a config with keypoints
    person_keypoints_{train,val}.json are read where the instances_ files have none. `reports`
    are those of :func:`check_folder`; without them the annotation files are read here. Raises
    InputError for annotations that are no good, and for a config that cannot use such data.
    """
    keypoints = _keypoint_datasets(cfg)
    if keypoints and (other := _keypoint_folder(folder)) != folder:
        folder, reports = other, None
    if reports is None:
        reports = check_folder(folder, drop_bad_boxes=True, images=False)
    if any(node.get('with_mask') for node in _annotation_loaders(cfg)):
        _settle_masks(cfg, reports)
    classes = reports['train'].classes
    metainfo = dict(classes=classes, palette=_palette(len(classes)))
    if keypoints:
        metainfo |= _keypoint_metainfo(folder, keypoints[0].get('metainfo') or {})
    for key, split in _LOADERS.items():
        if cfg.get(key):
            _refuse_other_tasks(cfg, key)
            cfg[key]['dataset'] = _repoint(cfg[key]['dataset'], folder, split, metainfo, key)
    for key in ('val_evaluator', 'test_evaluator'):
        if cfg.get(key):
            _repoint_evaluator(cfg, key, folder.annotation_files['val'])
    for key, value in (('data_root', str(folder.root)), ('metainfo', metainfo)):
        if key in cfg:
            cfg[key] = value
    _set_num_classes(cfg.model, len(classes))
    for head in _walk(cfg.model):
        if 'num_keypoints' in head:
            head['num_keypoints'] = len(metainfo['keypoint_names'])


def _walk(node: Any) -> Iterator[dict]:
    """Every dict in `node`, itself included."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _walk(item)


def _type_name(node: Mapping[str, Any]) -> str:
    kind = node.get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _annotation_loaders(cfg: Config) -> list[dict]:
    """All LoadAnnotations steps: in loaders, in top-level variables, in hooks that switch them."""
    names = ('LoadAnnotations', 'LoadKeypointAnnotations')
    return [node for node in _walk(cfg._cfg_dict) if _type_name(node) in names]


def _keypoint_datasets(cfg: Config) -> list[dict]:
    loaders = [cfg.get(key) for key in _LOADERS]
    return [node for node in _walk(loaders) if _type_name(node) == 'CocoKeypointDataset']


def _keypoint_folder(folder: CocoFolder) -> CocoFolder:
    """The folder with COCO's person_keypoints_ files, if only those have keypoints."""
    files = {
        split: file.with_name(file.name.replace('instances', 'person_keypoints', 1))
        for split, file in folder.annotation_files.items()
    }
    if all(file.is_file() for file in files.values()) and not any(
        'keypoints' in category for category in _categories(folder.annotation_files['val'])
    ):
        return dataclasses.replace(folder, annotation_files=files)
    return folder


def _categories(file: Path) -> list[dict]:
    return json.loads(file.read_bytes())['categories']


def _keypoint_metainfo(folder: CocoFolder, given: Mapping[str, Any]) -> dict[str, Any]:
    """Names, mirror pairs and sigmas of the keypoints of the annotation files.

    Where the names are those of the config, pairs and sigmas are the config's, too.
    """
    from mmscratch.datasets.coco_keypoint_dataset import CocoKeypointDataset, flip_pairs

    named = {
        split: [category for category in _categories(file) if category.get('keypoints')]
        for split, file in folder.annotation_files.items()
    }
    for split, categories in named.items():
        if not categories:
            raise InputError(
                f'{folder.annotation_files[split]}: no category has keypoints, and the config '
                f"trains a keypoint head; give each category of such objects the list 'keypoints' "
                f"of their names, and the objects 'keypoints' [x, y, visibility, ...]"
            )
    names = list(named['train'][0]['keypoints'])
    for split, categories in named.items():
        for category in categories:
            if len(category['keypoints']) != len(names):
                raise InputError(
                    f"{folder.annotation_files[split]}: category '{category['name']}' has "
                    f'{len(category["keypoints"])} keypoints, '
                    f"'{named['train'][0]['name']}' {len(names)}; "
                    f'name as many for all, and give 0, 0, 0 for those an object lacks'
                )
    known = {**CocoKeypointDataset.METAINFO, **given}
    keys = ('keypoint_names', 'flip_pairs', 'keypoint_sigmas')
    if names == list(known['keypoint_names']):
        return {key: known[key] for key in keys}
    pairs = flip_pairs(names)
    print_log(
        f'{folder.annotation_files["train"]}: {len(names)} keypoints, {len(pairs)} pairs of '
        f"left_... and right_... that a mirror swaps; OKS takes {_UNKNOWN_SIGMA} for each one's "
        f'sigma (metainfo.keypoint_sigmas)',
        logger='current',
        level=logging.INFO,
    )
    return dict(zip(keys, (names, pairs, [_UNKNOWN_SIGMA] * len(names))))


def _settle_masks(cfg: Config, reports: Mapping[str, DataReport]) -> None:
    """Full masks stay, no masks at all mean the box-only twin, anything between is an error."""
    if not any(report.masks for report in reports.values()):
        _become_box_only(cfg, reports['train'].annotation_file)
        return
    for report in reports.values():
        if report.masks < report.annotations:
            raise InputError(
                f'{report.annotation_file}: {report.annotations - report.masks} of '
                f'{report.annotations} annotations have no segmentation; add them, or remove '
                f'all segmentations from both files to train on boxes alone'
            )
    if any(report.rle_masks for report in reports.values()):
        # poly2mask=False is for polygons: MMDetection ignores each object with an RLE then.
        for node in _annotation_loaders(cfg):
            node.pop('poly2mask', None)


def _become_box_only(cfg: Config, annotation_file: Path) -> None:
    model = cfg.model
    roi_head = model.get('roi_head') or {}
    name = _type_name(model)
    parts = [name, *filter(None, [_type_name(roi_head)])]
    pastes = any(_type_name(node) == 'CopyPaste' for node in _walk(cfg._cfg_dict))
    if name not in _BOX_TWINS or parts[-1] not in _TWIN_ROI_HEADS or pastes:
        culprit = 'CopyPaste' if pastes else ' with '.join(parts)
        raise InputError(
            f'{annotation_file}: no annotation has a segmentation, and {culprit} needs masks; '
            f'use a box detector such as Faster R-CNN, or a plain Mask R-CNN config'
        )
    model['type'] = _BOX_TWINS[name]
    for key in ('mask_roi_extractor', 'mask_head'):
        roi_head.pop(key, None)
    if 'pad_mask' in model.get('data_preprocessor', {}):
        model['data_preprocessor']['pad_mask'] = False
    for node in _annotation_loaders(cfg):
        node['with_mask'] = False
    for key in ('val_evaluator', 'test_evaluator'):
        for metric in _as_list(cfg.get(key)):
            if 'segm' in metric.get('metric', ()):
                kept = [name for name in metric['metric'] if name == 'keypoints']
                metric['metric'] = ['bbox', *kept]
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint', {})
    if isinstance(checkpoint.get('save_best'), str):
        checkpoint['save_best'] = checkpoint['save_best'].replace('segm', 'bbox')
    print_log(
        f'{annotation_file.parent}: no masks, so {name} is trained on boxes alone '
        f'({_BOX_TWINS[name]})',
        logger='current',
        level=logging.INFO,
    )


def _as_list(evaluator: Any) -> list[dict]:
    return [evaluator] if isinstance(evaluator, dict) else list(evaluator or [])


def _refuse_other_tasks(cfg: Config, key: str) -> None:
    """Maps of stuff, panoptic segments, unlabeled images are not in a folder of instances."""
    loader = cfg[key]
    if any(node.get('with_seg') for node in _walk(loader)):
        task = 'semantic maps'
    elif any(node.get('num_stuff_classes') for node in _walk(cfg.model)):
        task = 'panoptic segments'
    elif 'source_ratio' in (loader.get('sampler') or {}):
        task = 'labeled and unlabeled images'
    else:
        return
    raise InputError(
        f'{cfg.filename}: {key} needs {task}, --data gives boxes and masks of objects; '
        f'use a config of an object detector'
    )


def _repoint(
    dataset: ConfigDict, folder: CocoFolder, split: str, metainfo: dict, key: str
) -> ConfigDict:
    """The dataset config reading `split`; wrappers around a dataset stay, ConcatDataset goes."""
    if 'datasets' in dataset:
        return _repoint(dataset['datasets'][0], folder, split, metainfo, key)
    if 'dataset' in dataset:
        dataset['dataset'] = _repoint(dataset['dataset'], folder, split, metainfo, key)
        return dataset
    name = _type_name(dataset)
    if name not in _DATASETS and not _is_own(dataset, 'CocoDataset'):
        raise InputError(
            f'{key}.dataset.type={name}: its configs cannot be pointed at a COCO-layout folder; '
            f'use a config that trains on CocoDataset'
        )
    if name in _DATASETS and name != 'CocoDataset':
        kept = ('pipeline', 'filter_cfg', 'test_mode', '_scope_')
        dataset = ConfigDict({k: v for k, v in dataset.items() if k in kept}, type='CocoDataset')
    dataset.update(
        data_root=str(folder.root),
        ann_file=str(folder.annotation_files[split].relative_to(folder.root)),
        data_prefix=dict(img=folder.image_dirs[split].name + '/'),
        metainfo=metainfo,
    )
    return dataset


def _repoint_evaluator(cfg: Config, key: str, annotation_file: Path) -> None:
    metrics = _as_list(cfg[key])
    for metric in metrics:
        name = _type_name(metric)
        if name not in _METRICS and not _is_own(metric, 'CocoMetric'):
            raise InputError(
                f'{key}.type={name}: cannot be pointed at a COCO-layout folder; use CocoMetric'
            )
        if name in _METRICS and name != 'CocoMetric':
            masks = any(node.get('with_mask') for node in _annotation_loaders(cfg))
            metric.clear()
            # the metric of our runtime's other hooks, where the config imports it
            imports = (cfg.get('custom_imports') or {}).get('imports', [])
            kind = 'FullCocoMetric' if 'mmscratch.evaluation' in imports else 'CocoMetric'
            metric.update(type=kind, metric=['bbox', 'segm'] if masks else ['bbox'])
            _repoint_save_best(cfg)
        metric['ann_file'] = str(annotation_file)


def _repoint_save_best(cfg: Config) -> None:
    """What VOC's metric calls mAP is nothing that COCO's returns."""
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    best = checkpoint.get('save_best')
    if isinstance(best, str) and '/' in best and not best.startswith('coco/'):
        checkpoint['save_best'] = 'coco/bbox_mAP'


def _is_own(node: Mapping[str, Any], base: str) -> bool:
    """Whether the type is a subclass of MMDetection's `base` from outside of MMDetection."""
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric
    from mmdet.registry import DATASETS, METRICS

    registry, parent = {
        'CocoDataset': (DATASETS, CocoDataset),
        'CocoMetric': (METRICS, CocoMetric),
    }[base]
    kind = registry.get(node['type']) if isinstance(node['type'], str) else node['type']
    own = isinstance(kind, type) and not kind.__module__.startswith('mmdet.')
    return own and issubclass(kind, parent)


def _set_num_classes(node: Any, num_classes: int) -> None:
    """Write the number of classes into every head; the RPN's is always 1 (object or not)."""
    if isinstance(node, list | tuple):
        for item in node:
            _set_num_classes(item, num_classes)
    if not isinstance(node, dict):
        return
    weights = node.get('class_weight')
    if isinstance(weights, list) and len(weights) > 2:
        # DETR-like heads: one weight a class, equal ones, and a last one for "no object".
        node['class_weight'] = [weights[0]] * num_classes + weights[-1:]
    for key, value in node.items():
        if key in ('num_classes', 'num_things_classes'):
            node[key] = num_classes
        elif key != 'rpn_head':
            _set_num_classes(value, num_classes)


def _palette(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours, 0..255, spread over the hues."""
    hues = (index / count for index in range(count))
    colours = (colorsys.hsv_to_rgb(hue, 0.85, 0.95) for hue in hues)
    return [tuple(round(255 * channel) for channel in colour) for colour in colours]

"""What ``--data DIR`` does to a config, whatever the layout of the folder."""

import colorsys
import importlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config.sections import as_list, type_name, walk, walk_paths
from mmscratch.errors import InputError

LOADERS = {'train_dataloader': 'train', 'val_dataloader': 'val', 'test_dataloader': 'val'}

# MMDetection's metrics of boxes and masks.
METRICS = (
    'CocoMetric',
    'CityScapesMetric',
    'CrowdHumanMetric',
    'LVISMetric',
    'OpenImagesMetric',
    'VOCMetric',
)
# Detectors that work without masks, and the box detector that each becomes.
_BOX_TWINS = {
    'MaskRCNN': 'FasterRCNN',
    'CascadeRCNN': 'CascadeRCNN',
    'FasterRCNN': 'FasterRCNN',
    'SingleStageDetector': 'SingleStageDetector',
}
_TWIN_ROI_HEADS = frozenset(
    ('StandardRoIHead', 'CascadeRoIHead', 'SingleMaskCascadeRoIHead', 'KeypointRoIHead')
)


def describe_folder(*folders: Path) -> str:
    """Say what is in the first of the folders that exists."""
    folder = next(folder for folder in folders if folder.is_dir())
    names = sorted(path.name + '/' * path.is_dir() for path in folder.iterdir())
    more = f' and {len(names) - 8} more' if len(names) > 8 else ''
    return f'{folder} holds {", ".join(names[:8]) or "nothing"}{more}'


def annotation_loaders(cfg: Config) -> list[dict]:
    """All LoadAnnotations steps: in loaders, in top-level variables, in hooks that switch them."""
    names = ('LoadAnnotations', 'LoadKeypointAnnotations')
    return [node for node in walk(cfg._cfg_dict) if type_name(node) in names]


def keypoint_datasets(cfg: Config) -> list[dict]:
    """The datasets that a config with keypoints reads."""
    loaders = [cfg.get(key) for key in LOADERS]
    return [node for node in walk(loaders) if type_name(node) == 'CocoKeypointDataset']


def datasets(cfg: Config, split: str) -> Iterator[dict]:
    """The data sets of a split's loader that read files, inside of any wrappers."""
    yield from _leaves((cfg.get(f'{split}_dataloader') or {}).get('dataset'))


def _leaves(dataset: dict | None) -> Iterator[dict]:
    inner = (dataset or {}).get('datasets') or [(dataset or {}).get('dataset')]
    if dataset and inner == [None]:
        yield dataset
    for item in filter(None, inner):
        yield from _leaves(item)


def annotation_path(dataset: Mapping[str, Any]) -> Path:
    """The annotation file, or list of images, of a data set's config."""
    return Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')


def image_dir(dataset: Mapping[str, Any]) -> Path:
    """The folder that the images of a data set's config are in, or in folders of."""
    root, prefix = Path(dataset.get('data_root') or ''), dataset.get('data_prefix') or {}
    if 'sub_data_root' in prefix:
        return root / prefix['sub_data_root'] / 'JPEGImages'
    return root / prefix.get('img', '')


def become_box_only(cfg: Config, annotation_file: Path) -> None:
    """Remove the mask branch, and all that serves it, from the config.

    Raises InputError for a detector that needs masks; it names the file without masks.
    """
    model = cfg.model
    roi_head = model.get('roi_head') or {}
    name = type_name(model)
    parts = [name, *filter(None, [type_name(roi_head)])]
    pastes = any(type_name(node) == 'CopyPaste' for node in walk(cfg._cfg_dict))
    if name not in _BOX_TWINS or not set(parts[1:]) <= _TWIN_ROI_HEADS or pastes:
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
    for node in annotation_loaders(cfg):
        node['with_mask'] = False
    for metric in as_list(cfg.get('val_evaluator')) + as_list(cfg.get('test_evaluator')):
        if 'segm' in metric.get('metric', ()):
            kept = [name for name in metric['metric'] if name == 'keypoints']
            metric['metric'] = ['bbox', *kept]
    rename_watched(cfg, lambda name: re.sub('^([^/]*/)?segm_', r'\1bbox_', name))
    print_log(
        f'{annotation_file.parent}: no masks, so {name} is trained on boxes alone '
        f'({_BOX_TWINS[name]})',
        logger='current',
        level=logging.INFO,
    )


def rename_watched(cfg: Config, rename: Callable[[str], str]) -> None:
    """Rename the metrics that hooks and schedulers look at: ``save_best`` and ``monitor``.

    If several names of a list become the same, the first one stays, with its rule.
    """
    for node in walk(
        [cfg.get(key) for key in ('default_hooks', 'custom_hooks', 'param_scheduler')]
    ):
        if node.get('monitor'):
            node['monitor'] = rename(node['monitor'])
        best = node.get('save_best')
        if isinstance(best, str) and best not in ('', 'auto'):
            node['save_best'] = rename(best)
        elif isinstance(best, list):
            names = [rename(name) if name != 'auto' else name for name in best]
            kept = [i for i, name in enumerate(names) if name not in names[:i]]
            node['save_best'] = [names[i] for i in kept]
            if isinstance(node.get('rule'), list) and len(node['rule']) == len(names):
                node['rule'] = [node['rule'][i] for i in kept]


def register_all(cfg: Config) -> None:
    """Register the classes of mmscratch, now and whenever the config is loaded again."""
    importlib.import_module('mmscratch.register_all')
    known = cfg.get('custom_imports') or {}
    modules = dict.fromkeys([*known.get('imports', []), 'mmscratch.register_all'])
    cfg.custom_imports = dict(known, imports=list(modules))


def repoint_config(
    cfg: Config, folder: Mapping[str, dict], metainfo: dict[str, Any], kind: str
) -> None:
    """Let the data sets of `cfg` read a folder, and its heads have as many classes.

    The config's own variables say the same. Children of CocoDataset from outside of MMDetection
    stay what they are if `kind` is CocoDataset.

    Args:
        cfg: changed in place.
        folder: for 'train' and 'val' the keys of a data set that say which files it reads:
            data_root, ann_file and data_prefix.
        metainfo: of the data sets; it has the classes.
        kind: the type of the data sets.

    Raises:
        InputError: the config asks for more than objects in single images.
    """
    for key, split in LOADERS.items():
        if cfg.get(key):
            _refuse_other_tasks(cfg, key)
            reads = dict(folder[split], metainfo=metainfo)
            cfg[key]['dataset'] = _repoint_dataset(cfg[key]['dataset'], key, reads, kind)
    for key, value in (('data_root', folder['train']['data_root']), ('metainfo', metainfo)):
        if key in cfg:
            cfg[key] = value
    set_num_classes(cfg.model, len(metainfo['classes']))


def _refuse_other_tasks(cfg: Config, key: str) -> None:
    """Refuse a task whose data a folder of instances does not have."""
    loader = cfg[key]
    if any(node.get('with_seg') for node in walk(loader)):
        task = 'semantic maps'
    elif any(node.get('num_stuff_classes') for node in walk(cfg.model)):
        task = 'panoptic segments'
    elif 'source_ratio' in (loader.get('sampler') or {}):
        task = 'labeled and unlabeled images'
    else:
        return
    raise InputError(
        f'{cfg.filename}: {key} needs {task}, --data gives boxes and masks of objects; '
        f'use a config of an object detector'
    )


def _repoint_dataset(
    dataset: ConfigDict, key: str, reads: Mapping[str, Any], kind: str
) -> ConfigDict:
    """The dataset of a loader, reading what `reads` says; wrappers stay, ConcatDataset goes.

    Raises InputError for a type that reads other things than objects; `key` is the loader's.
    """
    if 'datasets' in dataset:
        return _repoint_dataset(dataset['datasets'][0], key, reads, kind)
    if 'dataset' in dataset:
        dataset['dataset'] = _repoint_dataset(dataset['dataset'], key, reads, kind)
        return dataset
    if not _reads_objects(dataset):
        raise InputError(
            f'{key}.dataset.type={type_name(dataset)}: its configs cannot be pointed at a folder '
            f'of --data; use a config that trains on CocoDataset'
        )
    if kind != 'CocoDataset' or not _reads_coco(dataset):
        kept = ('pipeline', 'filter_cfg', 'test_mode', '_scope_')
        dataset = ConfigDict({k: v for k, v in dataset.items() if k in kept}, type=kind)
    dataset.update(reads)
    return dataset


def _reads_objects(dataset: Mapping[str, Any]) -> bool:
    """Whether the data set is one of boxes (and masks) in single images."""
    from mmdet import datasets

    kinds = (
        datasets.CocoDataset,
        datasets.CrowdHumanDataset,
        datasets.DSDLDetDataset,
        datasets.OpenImagesDataset,
        datasets.XMLDataset,
    )
    kind = class_of(dataset, 'DATASETS')
    return issubclass(kind, kinds) and not issubclass(kind, datasets.CocoPanopticDataset)


def _reads_coco(dataset: Mapping[str, Any]) -> bool:
    """Whether the data set is a CocoDataset, or a subclass of it from outside of MMDetection."""
    from mmdet.datasets import CocoDataset

    kind = class_of(dataset, 'DATASETS')
    return kind is CocoDataset or _is_own(kind, CocoDataset)


def known_metrics(cfg: Config, split: str) -> list[dict]:
    """The metrics of a split; InputError for one that judges something else."""
    from mmdet.evaluation import CocoMetric

    found = as_list(cfg.get(f'{split}_evaluator'))
    for metric in found:
        name = type_name(metric)
        if name not in METRICS and not _is_own(class_of(metric, 'METRICS'), CocoMetric):
            raise InputError(
                f'{split}_evaluator.type={name}: cannot be pointed at a folder of --data; '
                f'use CocoMetric'
            )
    return found


def _is_own(kind: type, parent: type) -> bool:
    """Whether it is a subclass of a class of MMDetection from outside of MMDetection."""
    return issubclass(kind, parent) and not kind.__module__.startswith('mmdet.')


def class_of(node: Mapping[str, Any], registry: str) -> type:
    """The class that a config's node names; ``object`` for one that MMDetection does not know."""
    from mmdet import registry as registries

    kind = node['type']
    return (getattr(registries, registry).get(kind) or object) if isinstance(kind, str) else kind


def set_num_classes(node: Any, num_classes: int) -> None:
    """Write the number of classes into every head; the RPN's is always 1 (object or not)."""
    for path, section in walk_paths(node):
        if 'rpn_head' in path.split('.'):
            continue
        weights = section.get('class_weight')
        if isinstance(weights, list) and len(weights) > 2:
            # DETR-like heads: one weight a class, equal ones, and a last one for "no object".
            section['class_weight'] = [weights[0]] * num_classes + weights[-1:]
        for key in section.keys() & {'num_classes', 'num_things_classes'}:
            section[key] = num_classes


def palette(count: int) -> list[tuple[int, int, int]]:
    """`count` RGB colours, 0..255, spread over the hues."""
    colours = (colorsys.hsv_to_rgb(index / count, 0.85, 0.95) for index in range(count))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]

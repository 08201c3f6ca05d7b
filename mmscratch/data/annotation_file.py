"""The annotation files of a run's data sets, and the check of their class names."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.datasets import XMLDataset
from mmengine import fileio
from mmengine.runner import Runner
from torch import nn

from mmscratch.data import coco_json, voc_xml

# heads whose number of classes is not the data set's number of things
OTHER_HEADS = {'rpn_head', 'semantic_head', 'panoptic_fusion_head'}


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file as a data set uses it.

    ``classes`` are those of the data set's ``metainfo``: names, or one text where the config has a
    text in place of a list.
    ``objects`` maps the category names of a COCO JSON, in its order, to their numbers of objects;
    it is None for other formats.
    ``xml_sha256`` is that of the hashes of the XML files of a list in PASCAL VOC's layout;
    it is None for other formats.
    """

    split: str
    file: str
    sha256: str | None
    classes: Sequence[str]
    objects: dict[str, int] | None
    xml_sha256: str | None = None


def annotation_files(runner: Runner) -> Iterator[AnnotationFile]:
    """Read the annotation file of every data set for training and validation, through wrappers."""
    loaders = {'train': runner.train_dataloader}
    if runner.val_loop is not None:
        loaders['val'] = runner.val_dataloader
    for split, loader in loaders.items():
        yield from files_of(split, loader.dataset)


def files_of(split: str, dataset: Any) -> Iterator[AnnotationFile]:
    """Read the annotation file of a data set, of each one within it if it is a wrapper."""
    for inner in inner_datasets(dataset):
        file = getattr(inner, 'ann_file', None) or None
        # CocoDataset and its children choose the JSON's categories by class name
        summary = _summary(inner, file, hasattr(inner, 'cat_ids')) if file else None
        yield AnnotationFile(
            split=split,
            file=str(file),
            sha256=summary.sha256 if summary else None,
            classes=getattr(inner, 'metainfo', {}).get('classes') or (),
            objects=(summary.objects or None) if summary else None,
            xml_sha256=_hash_of_xml(inner) if file and isinstance(inner, XMLDataset) else None,
        )


def _hash_of_xml(dataset: XMLDataset) -> str:
    names = voc_xml.read_names(Path(dataset.ann_file))
    folder = Path(dataset.sub_data_root, dataset.ann_subdir)
    files = voc_xml.find_files(folder, names, ('.xml',))

    def digest(name: str) -> bytes:
        return hashlib.sha256(files[name].read_bytes() if name in files else b'').digest()

    # a network disk takes milliseconds to open a file
    with ThreadPoolExecutor(16) as pool:
        return hashlib.sha256(b''.join(pool.map(digest, names))).hexdigest()


def _summary(dataset: Any, file: str, is_coco: bool) -> coco_json.Summary:
    """The summary from the check of the data, or of the file as the data set reads it."""
    if known := coco_json.summary(file):
        return known
    content = fileio.get(file, getattr(dataset, 'backend_args', None))
    objects = coco_json.count_objects(json.loads(content)) if content and is_coco else {}
    return coco_json.Summary(hashlib.sha256(content).hexdigest(), objects)


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """Data sets within RepeatDataset, ConcatDataset and the like, in order."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from inner_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from inner_datasets(dataset.dataset)
    else:
        yield dataset


def class_faults(files: list[AnnotationFile], model: nn.Module) -> list[str]:
    """Compare the class names of all data sets, of their JSON files, and the sizes of the heads."""
    files = [file for file in files if file.classes]
    if not files:
        return []
    texts = [file for file in files if isinstance(file.classes, str)]
    if texts:
        return [
            f'classes of the {f.split} set is the text {f.classes!r}, not a list' for f in texts
        ]
    faults = [fault for file in files for fault in _file_faults(file)]
    first = files[0]
    for other in files[1:]:
        if list(other.classes) != list(first.classes):
            faults.append(
                f'the classes of {first.split} and {other.split} differ: '
                f'{first_difference(list(first.classes), list(other.classes))}'
            )
    for name, module in model.named_modules():
        parts = name.split('.')
        size = getattr(module, 'num_classes', None)
        is_head = any('head' in part for part in parts) and not OTHER_HEADS.intersection(parts)
        if is_head and isinstance(size, int) and size != len(first.classes):
            faults.append(f'{name}.num_classes is {size}, the data set has {len(first.classes)}')
    return faults


def _file_faults(file: AnnotationFile) -> list[str]:
    """Compare a data set's classes with its JSON file.

    MMDetection drops an unknown class silently, shifts the labels after it, and numbers the rest in
    the file's order whatever the config's.
    """
    if file.objects is None:
        return []
    classes, names = list(file.classes), list(file.objects)
    faults = []
    unknown = [
        f'{name!r} (nearest: {difflib.get_close_matches(name, names, n=1, cutoff=0)})'
        for name in classes
        if name not in names
    ]
    if unknown:
        faults.append(f'{file.file} lacks classes of the config: {few(unknown)}')
    dropped = {name: n for name, n in file.objects.items() if n and name not in classes}
    if dropped:
        some = few([f'{name!r}: {n}' for name, n in dropped.items()])
        faults.append(f'{file.file} has objects of classes that the config lacks ({some})')
    if not faults and [name for name in names if name in classes] != classes:
        faults.append(f'the classes must stand in the order of {file.file}: {few(names)}')
    return faults


def few(names: list[str]) -> str:
    """Return the first names as text, with the number of the others."""
    return ', '.join(names[:3]) + (f', and {len(names) - 3} more' if len(names) > 3 else '')


def first_difference(left: list[str], right: list[str]) -> str:
    """Say where two unlike lists of names first differ, and how."""
    if len(left) != len(right):
        return f'{len(left)} and {len(right)} names'
    number = next(i for i, (a, b) in enumerate(zip(left, right)) if a != b)
    return f'number {number} is {left[number]!r} and {right[number]!r}'

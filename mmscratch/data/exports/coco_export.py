"""COCO JSON as Roboflow, CVAT and Label Studio write it, or any one of them with its images."""

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from mmscratch.data import coco_check, coco_json
from mmscratch.data.coco_json import Rows
from mmscratch.data.data_report import refuse_other_classes
from mmscratch.data.exports.export import Content, Export, split_of
from mmscratch.errors import InputError
from mmscratch.process import regular_file

_ROBOFLOW = '_annotations.coco.json'
_STUDIO = 'result.json'
# COCO's own layout without its other half, which is a mistake; CVAT has images/ for its subsets
_HALVES = [[f'instances_{s}{year}'] for s in ('train', 'val') for year in ('', '2014', '2017')]
# a folder with more JSON files has one an image
_MOST = 12


def recognise(root: Path) -> 'CocoExport | None':
    """Recognise COCO files by their names and keys.

    Raises:
        InputError: there are several, and their names do not tell which are to train on.
    """
    by_split = {split_of(file.parent.name): file for file in sorted(root.glob(f'*/{_ROBOFLOW}'))}
    if by_split:
        return _settled(root, 'COCO of Roboflow', by_split)
    for folder in (root, root / 'annotations'):
        files = sorted(folder.glob('*.json'))
        # CVAT writes captions and keypoints under other names
        instances = [file for file in files if file.name.startswith('instances_')]
        if not instances:
            files = files if len(files) <= _MOST else []
            files = [file for file in files if file.name == _STUDIO or _is_coco(file)]
        files = instances or files
        if not files:
            continue
        name = 'COCO of Label Studio' if files[0].name == _STUDIO else 'COCO'
        if folder != root and instances:
            name = 'COCO of CVAT'
        by_split = {split_of(file.stem) * (len(files) > 1): file for file in files}
        is_half = folder != root and [file.stem for file in instances] in _HALVES
        if is_half and not (root / 'images').is_dir():
            return None
        found = _settled(root, name, by_split)
        if found is None or len(by_split) < len(files):
            raise InputError(
                f'{folder}: holds {len(files)} COCO files, '
                f'{", ".join(file.name for file in files)}; leave one, or call them train.json and '
                'val.json'
            )
        return found
    return None


def top_level_keys(file: Path) -> set[str]:
    """The keys of a JSON file's object; none if it is not one. Values are not parsed."""
    try:
        return {*msgspec.json.decode(regular_file.read_bytes(file), type=dict[str, msgspec.Raw])}
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return set()


def _is_coco(file: Path) -> bool:
    return top_level_keys(file) >= {'images', 'annotations', 'categories'}


def _settled(root: Path, layout: str, files: dict[str, Path]) -> 'CocoExport | None':
    export = CocoExport(root, layout)
    export.sources = export.settle_splits(files)
    export.labels = list(export.sources.values())
    # their times of change tell whether images came or went; that of the root is of the cache, too
    folders = {folder for file in export.labels for folder in export.image_folders(file)}
    export.images = sorted(folder for folder in folders - {root} if folder.is_dir())
    return export if export.sources else None


class CocoExport(Export):
    """A COCO JSON a split, or one in all; ids, RLE, crowds and keypoints stay as they are."""

    def read(self) -> dict[str, Content]:
        """Read the files, find their images, and mend what tools are known to write."""
        files = {split: coco_json.parse(file)[0] for split, file in self.sources.items()}
        groups = self._groups(list(files.values()))
        sound: dict[str, coco_json.CocoJson] = {}
        for split, file in self.sources.items():
            content = files[split]
            content['categories'] = [r for r in content['categories'] if _category(r) not in groups]
            try:
                sound[split] = coco_json.CocoJson(content, file, '')
                if split == 'val' and (train := sound.get('train')):
                    refuse_other_classes(file, sound['val'].classes, train.file, train.classes)
            except InputError as fault:
                self.refuse(str(fault))
            self._locate(content['images'], file)
            content['annotations'] = self._without_false_crowds(content['annotations'])
        return files

    def _groups(self, files: Sequence[Content]) -> set[tuple]:
        """Categories without objects that others call their supercategory.

        Roboflow's first category is one, and not a class; it may have the name of a class.
        """
        found, used = set(), set()
        for content in files:
            known = {repr(row.get('category_id')) for row in content['annotations']}
            parents = Counter(repr(row.get('supercategory')) for row in content['categories'])
            for row in content['categories']:
                name = repr(row.get('name'))
                if repr(row.get('id')) in known:
                    used.add(_category(row))
                elif row.get('name') and parents[name] > (repr(row.get('supercategory')) == name):
                    found.add(_category(row))
        if groups := found - used:
            names = ', '.join(sorted({name for _, name in groups}))
            self.notes.append(f'left out, since it has no objects and groups the others: {names}')
        return groups

    def _locate(self, rows: Rows, file: Path) -> None:
        """Make ``file_name`` lead from the root: as it says, or by its last parts."""
        rows = [row for row in rows if isinstance(row.get('file_name'), str)]
        names = [row['file_name'] for row in rows]
        spellings = [
            names,
            [name.replace('\\', '/') for name in names],
            # Label Studio may write the path in its own store
            [PurePosixPath(name.replace('\\', '/')).name for name in names],
        ]
        lacking: list[str] | None = None
        for spelled, place in itertools.product(spellings, self.image_folders(file)):
            if len(set(spelled)) < len(set(names)):
                continue
            absent = coco_check.missing(spelled, place, may_lead_out=True)
            if lacking is None or len(absent) < len(lacking):
                folder, lacking, found = place, absent, spelled
            if not absent:
                break
        if lacking:
            fault = (
                f'{file}: {len(lacking)} of {len(names)} images are not in {folder}, the first is '
                f"'{lacking[0]}'; put them there, or correct file_name"
            )
            if len(lacking) == len(names):
                raise InputError(fault)
            self.refuse(fault)
        for row, name in zip(rows, found):
            row['file_name'] = self.relative(folder / name)

    def image_folders(self, file: Path) -> list[Path]:
        """Where the images of a file may be: never in a folder named after another split.

        Splits may have images of the same names.
        """
        split = split_of(file.stem) or split_of(file.parent.name)
        tops = [self.root / 'images', self.root]
        below = [path for top in tops for path in _folders(top)]
        own = [path for path in below if split and split_of(path.name) == split]
        others = [path for path in below if not (split and split_of(path.name))]
        return list(dict.fromkeys([*own, file.parent, *tops, *others]))

    def _without_false_crowds(self, rows: Rows) -> Rows:
        """Take masks of CVAT, which marks all as crowds, for single objects.

        Its exporter is Datumaro's (``convert_instance`` in coco/exporter.py). CVAT's rows have the
        attribute 'occluded', and 'is_crowd' if the labels have it.
        """
        mended = [dict(row, iscrowd=0) if _is_mask_of_cvat(row) else row for row in rows]
        if changed := sum(new is not row for new, row in zip(mended, rows)):
            self.notes.append(
                f'{changed} masks count as single objects: CVAT writes iscrowd=1 for every mask'
            )
        return mended


def _category(row: Mapping[str, Any]) -> tuple[str, str]:
    return repr(row.get('id')), str(row.get('name'))


def _is_mask_of_cvat(row: Mapping[str, Any]) -> bool:
    attributes = row.get('attributes')
    return bool(
        row.get('iscrowd')
        and isinstance(row.get('segmentation'), dict)
        and isinstance(attributes, dict)
        and 'occluded' in attributes
        and not attributes.get('is_crowd')
    )


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    return [root / name for name in names]

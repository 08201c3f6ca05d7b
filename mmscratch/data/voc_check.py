"""Checks PASCAL VOC's own archives, and folders in its layout, before training starts."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmscratch.data import repoint, voc_xml
from mmscratch.data.box_table import BoxTable
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_check import IMAGE_SUFFIXES, folded
from mmscratch.data.image_decoding import check_images
from mmscratch.data.voc_xml import VocObject
from mmscratch.errors import InputError

# By kind of fault: what the message says, and the cure.
_ADD = 'add them, or remove these names from the list (names have no suffix)'
_FAULTS = {
    'twice': ('names occur more than once', 'keep one of each'),
    'spelling': (
        'names are not spelled as the files are',
        'write names without suffix, JPEGImages/ and mark (1, -1), with / after a sub-folder, in '
        'the same letters (case and Unicode form)',
    ),
    'no xml': ('XML files are missing', _ADD),
    'no image': (f'images ({", ".join(IMAGE_SUFFIXES)}) are missing', _ADD),
    'xml': ('XML files cannot be read', 'write them again'),
    'image': ('images are unusable', 'replace them, or remove these names from the list'),
    'entry': ('entries of XML files are missing or no good', 'correct them'),
    'size': (
        'XML files give another size than the image has when loaded (EXIF rotation included)',
        'correct <size>, and check the boxes',
    ),
    'class': (
        'objects are of classes that the training list lacks',
        'correct <name>, or train on such objects too',
    ),
    'normalised': ('boxes lie within 0..1, as if normalised', 'write pixels'),
    'box': (
        'boxes have no area or lie outside of their image',
        'correct or remove them, or leave them out with --drop-bad-boxes (drop_bad_boxes=True)',
    ),
}


def check_archive(dataset: Mapping[str, Any]) -> None:
    """Check that the files of a VOCDataset's config exist: its list of images, and what it lists.

    MMDetection stops at the first missing list or annotation with a traceback, and at a missing
    image only when training comes to it.

    Raises:
        InputError: no list, an empty one, or files of it that are missing.
    """
    root, list_file = Path(dataset.get('data_root') or ''), repoint.annotation_path(dataset)
    if not list_file.is_file():
        raise InputError(
            f"{list_file}: no such file; put PASCAL VOC's folders VOC2007 and VOC2012, of its "
            f'archives VOCtrainval, into {root} (or a link to them)'
        )
    names = voc_xml.read_names(list_file)
    folder = root / (dataset.get('data_prefix') or {}).get('sub_data_root', '')
    for key, default, suffix in (
        ('ann_subdir', 'Annotations', '.xml'),
        ('img_subdir', 'JPEGImages', '.jpg'),
    ):
        below = folder / dataset.get(key, default)
        found = voc_xml.find_files(below, names, (suffix,))
        missing = [f'{name}{suffix}' for name in names if name not in found]
        if missing:
            raise InputError(
                f'{list_file}: {len(missing)} of its {len(names)} files are not in '
                f'{below}, the first is {missing[0]}; unpack the archive again'
            )


def check(
    dataset: Mapping[str, Any], drop_bad_boxes: bool = False, decode: bool = False
) -> DataReport:
    """Check the files that a VocFolderDataset's config leads to.

    The arguments are those of :func:`mmscratch.data.coco_check.check`.

    Raises:
        InputError: all faults; of each kind how many, the first of them, the cure.
    """
    checked = _ListCheck(dataset, drop_bad_boxes, decode)
    checked.refuse_faults()
    return checked.report()


class _ListCheck:
    """The files of one list, and what is wrong with them."""

    def __init__(self, dataset: Mapping[str, Any], drop_bad_boxes: bool, decode: bool) -> None:
        folder = repoint.image_dir(dataset)
        xml_folder = folder.with_name('Annotations')
        self.file = repoint.annotation_path(dataset)
        self.names = voc_xml.read_names(self.file)
        self.classes = tuple(dataset['metainfo']['classes'])
        self.filter_cfg = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
        self.drop_bad_boxes = drop_bad_boxes
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.faults['twice'] = [name for name, n in Counter(self.names).items() if n > 1]
        found = voc_xml.find_files(folder, self.names, IMAGE_SUFFIXES)
        paths = {name: found[name] for name in self.names if name in found}
        pipeline = dataset.get('pipeline') or ()
        facts = check_images(folder, list(paths.values()), pipeline, decode)
        self.images = dict(zip(paths, facts))
        for name, image in self.images.items():
            if image.fault:
                self.faults['image'].append(f'{paths[name]}, which {image.fault}')
        files = voc_xml.find_files(xml_folder, self.names, ('.xml',))
        self.xml = {name: voc_xml.read(files[name]) for name in self.names if name in files}
        known = {folded(name): name for name in found}
        for name in self.names:
            if name not in paths and (meant := _meant(name, known)):
                self.faults['spelling'].append(f"'{name}', where the image is called '{meant}'")
                continue
            if name not in paths:
                self.faults['no image'].append(str(folder / name))
            if name not in files:
                self.faults['no xml'].append(str(xml_folder / f'{name}.xml'))
            elif fault := self.xml[name].unreadable:
                self.faults['xml'].append(f'{files[name]} ({fault})')
            else:
                self._check_entries(name)

    def _check_entries(self, name: str) -> None:
        xml, image = self.xml[name], self.images.get(name)
        self.faults['entry'] += [f'{name}.xml, {fault}' for fault in xml.faults]
        for item in xml.objects:
            if item.name not in self.classes:
                self.faults['class'].append(f"'{item.name}' in {name}.xml")
        if image is None or image.fault:
            return
        if xml.size not in (None, (image.width, image.height)):
            self.faults['size'].append(
                f'{name}.xml: {xml.size[0]} x {xml.size[1]}, the image '
                f'{image.width} x {image.height}'
            )
        for item in xml.objects:
            if not (self.drop_bad_boxes or item.is_usable(image.width, image.height)):
                self.faults['normalised' if item.is_normalised else 'box'].append(
                    f"'{item.name}' in {name}.xml ({image.width} x {image.height} pixels) with "
                    f'xmin, ymin, xmax, ymax = {", ".join(f"{x:g}" for x in item.corners)}'
                )

    def refuse_faults(self) -> None:
        """Raise InputError with all faults in a line, if there are any."""
        told = [
            f'{len(self.faults[kind])} {what}, the first is {self.faults[kind][0]}: {cure}'
            for kind, (what, cure) in _FAULTS.items()
            if self.faults[kind]
        ]
        if not told and not any(xml.objects for xml in self.xml.values()):
            name, first = next(iter(self.xml.items()))
            tags = ', '.join(f'<{tag}>' for tag in first.tags) or 'nothing'
            told = [
                f'no <object> in its {len(self.xml)} XML files, the first of which ({name}.xml) '
                f'holds {tags}: annotate the images'
            ]
        if told:
            raise InputError(f'{self.file}: {"; ".join(told)}')

    def report(self) -> DataReport:
        """Count what the files hold; they have no faults."""
        images = [
            dict(id=name, file_name=f'{name}.xml', width=image.width, height=image.height)
            for name, image in self.images.items()
        ]
        named = [(name, item) for name, xml in self.xml.items() for item in xml.objects]
        objects = [item for _, item in named]
        rows = [_coco_row(name, item) for name, item in named]
        categories = [dict(id=name, name=name) for name in self.classes]
        table = BoxTable(images, rows, categories, self.file)
        normalised = np.array([item.is_normalised for item in objects])
        table.leave_out(normalised, 'lie within 0..1, as if normalised (write pixels)')
        notes = table.check(drop_bad_boxes=True)
        loaded = table.usable
        difficult = np.array([item.difficult for item in objects])
        if count := table.leave_out(difficult, 'are marked difficult'):
            notes.append(
                f'{count} objects are marked difficult: not trained on, and in testing neither '
                f'found nor missed'
            )
        least = self.filter_cfg.get('bbox_min_size')
        small = np.array([item.is_under(least) for item in objects])
        why = f'have a side under {least} pixels'
        if count := table.leave_out(small, f'{why} (bbox_min_size)'):
            notes.append(f'{count} objects {why}: not trained on (bbox_min_size)')
        notes += table.leave_out_images(self.filter_cfg, loaded)
        xml = b''.join(xml.content for xml in self.xml.values())
        digest = hashlib.sha256(xml).hexdigest()
        return table.report(
            sha256=hashlib.sha256(self.file.read_bytes()).hexdigest(),
            xml_sha256=digest,
            to_find=int(table.usable.sum()),
            notes=[*notes, f'SHA-256 of the XML files, one after the other: {digest}'],
            facts=self.images,
            listed=tuple(self.names),
        )


def _coco_row(name: str, item: VocObject) -> dict[str, Any]:
    """An object of the XML file `name` in the terms of COCO."""
    x1, y1, x2, y2 = item.box
    return dict(
        image_id=name,
        category_id=item.name,
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=(x2 - x1) * (y2 - y1),
        iscrowd=0,
    )


def _meant(name: str, known: Mapping[str, str]) -> str:
    """The name that another spelling means, '' if there is none; `known` maps folded names."""
    text = folded(name.replace('\\', '/'))
    # VOC's lists of a class have "NAME 1", other tools write "IMAGE XML".
    for spelled in (text, text.rsplit(maxsplit=1)[0]):
        path = PurePosixPath(spelled)
        if path.suffix in (*IMAGE_SUFFIXES, '.xml'):
            path = path.with_suffix('')
        for start in range(len(path.parts)):
            if (below := '/'.join(path.parts[start:])) in known:
                return known[below]
    return ''

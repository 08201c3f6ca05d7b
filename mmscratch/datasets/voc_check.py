"""Is PASCAL VOC, or a folder in its layout, what it should be? Answered before training starts."""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.datasets import repoint, voc_xml
from mmscratch.datasets.box_table import BoxTable
from mmscratch.datasets.data_report import DataReport
from mmscratch.datasets.image_check import look_at_all, remarks
from mmscratch.datasets.voc_xml import VocObject
from mmscratch.detection_limit import note_crowded_images
from mmscratch.errors import InputError

# What is told of all faults of a kind, and the cure.
_ADD = 'add them, or take these names (which stand without suffix) out of the list'
_FAULTS = {
    'twice': ('names stand there more than once', 'leave one of each'),
    'no xml': ('XML files are missing', _ADD),
    'no image': ('images (.jpg, .jpeg or .png) are missing', _ADD),
    'xml': ('XML files cannot be read', 'write them again'),
    'image': ('images are unusable', 'replace them, or take these names out of the list'),
    'entry': ('entries of XML files are missing or no good', 'correct them'),
    'size': (
        'XML files give another size than the image has when loaded (EXIF rotation included)',
        'correct <size>, and check the boxes',
    ),
    'class': (
        'objects are of classes that the training list lacks',
        'correct <name>, or train on such objects too',
    ),
    'box': (
        'boxes have no area or lie outside of their image',
        'correct or remove them, or leave them out with --drop-bad-boxes (drop_bad_boxes=True)',
    ),
}


def check(dataset: Mapping[str, Any]) -> None:
    """Check that the list of images of a VOCDataset's config is there, and what it lists.

    MMDetection stops at the first missing list or annotation with a traceback, and at a missing
    image only when training comes to it.

    Raises:
        InputError: no list, an empty one, or files of it that are missing.
    """
    root = Path(dataset.get('data_root') or '')
    list_file = root / dataset['ann_file']
    if not list_file.is_file():
        raise InputError(
            f"{list_file}: no such file; put PASCAL VOC's folders VOC2007 and VOC2012, of its "
            f'archives VOCtrainval, into {root} (or a link to them)'
        )
    names = list_file.read_text().split()
    if not names:
        raise InputError(f'{list_file}: lists no image; take the file from the archive again')
    folder = root / (dataset.get('data_prefix') or {}).get('sub_data_root', '')
    kinds = {
        dataset.get('ann_subdir', 'Annotations'): '.xml',
        dataset.get('img_subdir', 'JPEGImages'): '.jpg',
    }
    for below, suffix in kinds.items():
        # one listing: to ask for each file is slow on network disks
        present = {path.name for path in (folder / below).glob(f'*{suffix}')}
        missing = [f'{name}{suffix}' for name in names if f'{name}{suffix}' not in present]
        if missing:
            raise InputError(
                f'{list_file}: {len(missing)} of its {len(names)} files are not in '
                f'{folder / below}, the first is {missing[0]}; unpack the archive again'
            )


def check_config(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> list[DataReport]:
    """Check the data of the VocFolderDatasets of `cfg`; the reports are in the order of `splits`.

    The config's key `drop_bad_boxes` has boxes counted that would be refused.

    Raises:
        InputError: all faults of all lists; of each kind how many, the first of them, the cure.
    """
    checks = {
        split: [
            _ListCheck(node, cfg.get('drop_bad_boxes', False))
            for node in repoint.walk(cfg.get(f'{split}_dataloader'))
            if repoint.type_name(node) == 'VocFolderDataset'
        ]
        for split in splits
    }
    pairs = list(itertools.product(checks.get('train', []), checks.get('val', [])))
    every = [check for found in checks.values() for check in found]
    faults = [check.describe_faults() for check in every]
    faults += [_names_in_both(train, val) for train, val in pairs]
    if any(faults):
        raise InputError('; '.join(filter(None, faults)))
    reports = {check: check.report() for check in every}
    for train, val in pairs:
        reports[val].note_copies_of(reports[train])
    for split in {'val', 'test'}.intersection(checks):
        for check in checks[split]:
            note_crowded_images(cfg, split, reports[check])
    return list(reports.values())


class _ListCheck:
    """The files of one list, and what is wrong with them."""

    def __init__(self, dataset: Mapping[str, Any], drop_bad_boxes: bool) -> None:
        root = Path(dataset['data_root'])
        self.file = root / dataset['ann_file']
        root /= dataset['data_prefix']['sub_data_root']
        self.names = voc_xml.read_names(self.file)
        self.classes = tuple(dataset['metainfo']['classes'])
        self.filter_cfg = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
        self.drop_bad_boxes = drop_bad_boxes
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.faults['twice'] = [name for name, n in Counter(self.names).items() if n > 1]
        files = voc_xml.image_files(root / 'JPEGImages')
        paths = {n: root / 'JPEGImages' / files[n] for n in self.names if n in files}
        self.images = dict(zip(paths, look_at_all(list(paths.values()))))
        for name, image in self.images.items():
            if image.fault:
                self.faults['image'].append(f'{paths[name]}, which {image.fault}')
        # one listing: to ask for each file is slow on network disks
        present = {path.stem: path for path in (root / 'Annotations').glob('*.xml')}
        self.xml = {n: voc_xml.read(present[n]) for n in self.names if n in present}
        for name in self.names:
            if name not in paths:
                self.faults['no image'].append(str(root / 'JPEGImages' / name))
            if name not in present:
                self.faults['no xml'].append(str(root / 'Annotations' / f'{name}.xml'))
            elif fault := self.xml[name].unreadable:
                self.faults['xml'].append(f'{present[name]} ({fault})')
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
            if not (self.drop_bad_boxes or voc_xml.is_usable(item.box, image.width, image.height)):
                self.faults['box'].append(
                    f"'{item.name}' in {name}.xml ({image.width} x {image.height} pixels) with "
                    f'xmin, ymin, xmax, ymax = {", ".join(map(str, item.corners))}'
                )

    def describe_faults(self) -> str:
        """All faults in a line, '' if there are none."""
        told = [
            f'{len(self.faults[kind])} {what}, the first is {self.faults[kind][0]}: {cure}'
            for kind, (what, cure) in _FAULTS.items()
            if self.faults[kind]
        ]
        if not told and not any(xml.objects for xml in self.xml.values()):
            told = ['no object in its XML files: annotate the images']
        return f'{self.file}: {"; ".join(told)}' if told else ''

    def report(self) -> DataReport:
        """The counts, of data without faults."""
        images = [
            dict(id=name, file_name=f'{name}.xml', width=image.width, height=image.height)
            for name, image in self.images.items()
        ]
        annotations = [
            _coco_row(name, item) for name, xml in self.xml.items() for item in xml.objects
        ]
        categories = [dict(id=name, name=name) for name in self.classes]
        table = BoxTable(images, annotations, categories, self.file)
        notes = table.check(drop_bad_boxes=True)
        return DataReport(
            annotation_file=self.file,
            sha256=hashlib.sha256(self.file.read_bytes()).hexdigest(),
            images=len(images),
            annotations=len(annotations),
            masks=0,
            rle_masks=0,
            instances=table.instances(),
            sizes=table.sizes(),
            notes=[*notes, *self._remarks()],
            crowding=table.crowding(),
            fingerprints={
                image.fingerprint: name for name, image in self.images.items() if image.fingerprint
            },
        )

    def _remarks(self) -> list[str]:
        """What becomes of some objects and images, and the checksum of the XML files."""
        told = remarks(self.images.values())
        objects = [item for xml in self.xml.values() for item in xml.objects]
        if difficult := sum(item.difficult for item in objects):
            told.append(
                f'{difficult} objects are marked difficult: not trained on, and in testing '
                f'neither found nor missed'
            )
        if empty := sum(not xml.objects for xml in self.xml.values()):
            drops = self.filter_cfg.get('filter_empty_gt', False)
            fate = 'dropped (filter_empty_gt=True)' if drops else 'kept'
            told.append(f'{empty} of {len(self.xml)} images are without objects: {fate}')
        least = self.filter_cfg.get('min_size', 0)
        if small := sum(min(im.width, im.height) < least for im in self.images.values()):
            told.append(f'{small} images have a side under {least} pixels: dropped (min_size)')
        content = b''.join(xml.content for xml in self.xml.values())
        sha256 = hashlib.sha256(content).hexdigest()
        return [*told, f'SHA-256 of the XML files, one after the other: {sha256}']


def _coco_row(name: str, item: VocObject) -> dict[str, Any]:
    """An object of the XML file `name` in the terms of COCO."""
    x1, y1, x2, y2 = item.box
    return dict(
        image_id=name,
        category_id=item.name,
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=(x2 - x1) * (y2 - y1),
        iscrowd=0,
        ignore=item.difficult,
    )


def _names_in_both(train: _ListCheck, val: _ListCheck) -> str:
    """The fault that images are trained on and tested on, '' if none are."""
    known = set(train.names)
    common = [name for name in val.names if name in known]
    if not common:
        return ''
    return (
        f'{val.file}: {len(common)} of its {len(val.names)} images are in {train.file.name} too, '
        f'the first is {common[0]}: take them out of one of the lists'
    )

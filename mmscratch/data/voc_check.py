"""Is PASCAL VOC, or a folder in its layout, what it should be? Answered before training starts."""

import hashlib
import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mmengine.config import Config

from mmscratch.config.detection_limit import note_crowded_images
from mmscratch.data import repoint, voc_xml
from mmscratch.data.box_table import BoxTable
from mmscratch.data.data_report import DataReport
from mmscratch.data.image_check import IMAGE_SUFFIXES, ImageFacts, look_at_all, remarks
from mmscratch.data.image_decoding import decode_all
from mmscratch.data.voc_xml import VocObject
from mmscratch.errors import InputError

# What is told of all faults of a kind, and the cure.
_ADD = 'add them, or take these names (which stand without suffix) out of the list'
_FAULTS = {
    'twice': ('names stand there more than once', 'leave one of each'),
    'spelling': (
        'names are not spelled as the files are',
        'names stand without suffix, JPEGImages/ and mark (1, -1), with / after a sub-folder, in '
        'the same letters (case and Unicode form)',
    ),
    'no xml': ('XML files are missing', _ADD),
    'no image': (f'images ({", ".join(IMAGE_SUFFIXES)}) are missing', _ADD),
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
    'normalised': ('boxes lie within 0..1, as if normalised', 'write pixels'),
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


def check_config(
    cfg: Config, splits: Sequence[str] = ('train', 'val'), decode: bool = False
) -> list[DataReport]:
    """Check the data of the VocFolderDatasets of `cfg`; the reports are in the order of `splits`.

    The config's key `drop_bad_boxes` has boxes counted that would be refused. With `decode` each
    image is decoded, as the data set's pipeline does it, unless it was once before.

    Raises:
        InputError: all faults of all lists; of each kind how many, the first of them, the cure.
    """
    checks = {
        split: [
            _ListCheck(node, cfg.get('drop_bad_boxes', False), decode)
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


def check_list(dataset: Mapping[str, Any]) -> None:
    """Check what one list of a VocFolderDataset's config leads to.

    Raises:
        InputError: all its faults.
    """
    if faults := _ListCheck(dataset, drop_bad_boxes=False).describe_faults():
        raise InputError(faults)


class _ListCheck:
    """The files of one list, and what is wrong with them."""

    def __init__(
        self, dataset: Mapping[str, Any], drop_bad_boxes: bool, decode: bool = False
    ) -> None:
        root = Path(dataset['data_root'])
        self.file = root / dataset['ann_file']
        root /= dataset['data_prefix']['sub_data_root']
        self.names = voc_xml.read_names(self.file)
        self.classes = tuple(dataset['metainfo']['classes'])
        self.trains = not dataset.get('test_mode')
        self.filter_cfg = (dataset.get('filter_cfg') or {}) if self.trains else {}
        self.bbox_min_size = self.filter_cfg.get('bbox_min_size')
        self.drop_bad_boxes = drop_bad_boxes
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.faults['twice'] = [name for name, n in Counter(self.names).items() if n > 1]
        found = voc_xml.find_files(root / 'JPEGImages', self.names, IMAGE_SUFFIXES)
        paths = {name: found[name] for name in self.names if name in found}
        self.images = dict(zip(paths, look_at_all(list(paths.values()))))
        for name, image in self.images.items():
            if image.fault:
                self.faults['image'].append(f'{paths[name]}, which {image.fault}')
        if decode and not self.faults['image']:
            folder = root / 'JPEGImages'
            decoded = decode_all(folder, list(paths.values()), dataset['pipeline'])
            self.faults['image'] = [
                f'{path}, which {fault}' for path, fault in zip(paths.values(), decoded) if fault
            ]
        files = voc_xml.find_files(root / 'Annotations', self.names, ('.xml',))
        self.xml = {name: voc_xml.read(files[name]) for name in self.names if name in files}
        known = {_fold(name): name for name in found}
        for name in self.names:
            if name not in paths and (meant := _meant(name, known)):
                self.faults['spelling'].append(f"'{name}', where the image is called '{meant}'")
                continue
            if name not in paths:
                self.faults['no image'].append(str(root / 'JPEGImages' / name))
            if name not in files:
                self.faults['no xml'].append(str(root / 'Annotations' / f'{name}.xml'))
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

    def describe_faults(self) -> str:
        """All faults in a line, '' if there are none."""
        told = [
            f'{len(self.faults[kind])} {what}, the first is {self.faults[kind][0]}: {cure}'
            for kind, (what, cure) in _FAULTS.items()
            if self.faults[kind]
        ]
        if not told and (nothing := self._nothing_left()):
            told = [nothing]
        return f'{self.file}: {"; ".join(told)}' if told else ''

    def _nothing_left(self) -> str:
        """Why there is no object to train on, or to find, in files without fault; '' if one is."""
        reasons = Counter(
            self._left_out(item, self.images[name])
            for name, xml in self.xml.items()
            for item in xml.objects
        )
        if '' in reasons:
            return ''
        if not reasons:
            name, first = next(iter(self.xml.items()))
            tags = ', '.join(f'<{tag}>' for tag in first.tags) or 'nothing'
            return (
                f'no <object> in its {len(self.xml)} XML files, the first of which ({name}.xml) '
                f'holds {tags}: annotate the images'
            )
        told = ', '.join(f'{count} {why}' for why, count in reasons.items())
        aim = 'trained on' if self.trains else 'found'
        return f'none of its {reasons.total()} objects can be {aim}: {told}; correct these'

    def _left_out(self, item: VocObject, image: ImageFacts) -> str:
        """Why the object doesn't count, '' if it does."""
        least = self.filter_cfg.get('min_size', 0)
        if item.is_normalised:
            return 'lie within 0..1, as if normalised (write pixels)'
        if not item.is_usable(image.width, image.height):
            return 'have no area or lie outside of their image'
        if item.difficult:
            return 'are marked difficult'
        if item.is_under(self.bbox_min_size):
            return f'have a side under {self.bbox_min_size} pixels (bbox_min_size)'
        if min(image.width, image.height) < least:
            return f'are on images with a side under {least} pixels (min_size)'
        return ''

    def report(self) -> DataReport:
        """The counts, of data without faults."""
        images = [
            dict(id=name, file_name=f'{name}.xml', width=image.width, height=image.height)
            for name, image in self.images.items()
        ]
        annotations = [
            dict(_coco_row(name, item), ignore=item.difficult or item.is_under(self.bbox_min_size))
            for name, xml in self.xml.items()
            for item in xml.objects
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
            without_masks=len(annotations),
            rle_masks=0,
            to_find=int(table.usable.sum()),
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
        usable = {
            name: [item for item in self.xml[name].objects if item.is_usable(im.width, im.height)]
            for name, im in self.images.items()
        }
        objects = list(itertools.chain(*usable.values()))
        if difficult := sum(item.difficult for item in objects):
            told.append(
                f'{difficult} objects are marked difficult: not trained on, and in testing '
                f'neither found nor missed'
            )
        least = self.bbox_min_size
        if small := sum(item.is_under(least) for item in objects if not item.difficult):
            told.append(
                f'{small} objects have a side under {least} pixels: not trained on (bbox_min_size)'
            )
        if empty := sum(not items for items in usable.values()):
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
    )


def _fold(name: str) -> str:
    """The name whatever the case of its letters and the form in which Unicode has them."""
    return unicodedata.normalize('NFC', name).casefold()


def _meant(name: str, known: Mapping[str, str]) -> str:
    """The one of `known` names, which are folded, that another spelling stands for; '' if none."""
    text = _fold(name.replace('\\', '/'))
    # "NAME 1" is in VOC's lists of a class, "IMAGE XML" in those of other tools
    for spelled in (text, text.rsplit(maxsplit=1)[0]):
        path = PurePosixPath(spelled)
        if path.suffix in (*IMAGE_SUFFIXES, '.xml'):
            path = path.with_suffix('')
        for start in range(len(path.parts)):
            if (below := '/'.join(path.parts[start:])) in known:
                return known[below]
    return ''


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

"""YOLO's text files, as Ultralytics describes them: boxes, polygons, oriented boxes.

Of keypoints (YOLO pose) the boxes are read, and a note says so.

Numbers are shares of the sides of an image as it is loaded, EXIF rotation included.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmscratch.data.exports.export import (
    Content,
    Export,
    LabelledImage,
    LabelledObject,
    split_of,
    to_coco,
)
from mmscratch.data.image_check import (
    IMAGE_SUFFIXES,
    ImageFacts,
    find_files,
    find_images,
    look_at_all,
)
from mmscratch.errors import InputError
from mmscratch.process import regular_file

_KEYS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
# beside obj.data, which has its path on the computer of Darknet
_OBJ_NAMES = 'obj.names'
# without names, a higher class is some other number
_MOST_UNNAMED = 9_999
# a box a little beyond its image has shares beyond 0..1; pixels are farther out
_LARGEST = 2.0
# the number of a class, and shares
_Row = tuple[int, list[float]]


class _Loader(yaml.SafeLoader):
    """Refuses aliases, by which a short file makes a list of any length."""

    def compose_node(self, *args: Any) -> Any:
        """Compose what is no alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError('it has an alias')
        return super().compose_node(*args)


def recognise(root: Path) -> 'YoloExport | None':
    """Recognise data.yaml or obj.data, or images and labels, alone or in a folder for each split.

    They are in images/ and labels/, or beside each other and classes.txt, as LabelImg saves them.
    """
    found = _description(root) or ()
    if found and _KEYS.keys() & found[1].keys():
        return YoloExport(root, *found)
    pairs = [root, *(path for path in sorted(root.iterdir()) if split_of(path.name))]
    if any(
        ((path / 'images').is_dir() and any(find_files(path / 'labels', ('.txt',))))
        or ((path / 'classes.txt').is_file() and _has_labels(path))
        for path in pairs
    ):
        return YoloExport(root, *found)
    return None


def _has_labels(folder: Path) -> bool:
    """Whether an image of a folder has a text file beside it."""
    images = {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
    return any(path.stem in images for path in folder.glob('*.txt'))


def _description(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """The YAML that names classes, and mostly splits, or Darknet's obj.data, and its content.

    Raises:
        InputError: there are several, or data.yaml cannot be read.
    """
    darknet = root / 'obj.data'
    if darknet.is_file():
        pairs = (line.partition('=') for line in (_text(darknet) or '').splitlines())
        content: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
        content['names'] = _lines(root / _OBJ_NAMES)
        return darknet, content
    found = {}
    for file in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        try:
            content = yaml.load(regular_file.read_bytes(file), _Loader)
        except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
            if file.stem != 'data':
                continue
            reason = ' '.join(str(error).split())
            raise InputError(f'{file}: cannot be read ({reason}); write it anew') from None
        if isinstance(content, dict) and 'names' in content:
            found[file] = content
    named = [file for file in found if file.stem == 'data'] or list(found)
    if len(named) > 1:
        raise InputError(
            f'{root}: {len(named)} files describe data in YOLO layout: '
            f'{", ".join(file.name for file in named)}; leave one, or call it data.yaml'
        )
    return (named[0], found[named[0]]) if named else None


class YoloExport(Export):
    """Images and a text file of labels for each; an image without one has no objects."""

    def __init__(
        self, root: Path, file: Path | None = None, content: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(root, 'YOLO')
        self.file = file
        self.content = content or {}
        is_described = _KEYS.keys() & self.content.keys()
        found = self._described() if is_described else self._undescribed()
        self.splits = self.settle_splits({key: images for key, images in found.items() if images})
        if not self.splits:
            cure = "name the images after 'train:'" if is_described else 'put images into images/'
            raise InputError(f'{file or root}: no images to train on; {cure}')
        self.sources = dict.fromkeys(self.splits, file or root)
        self.images = [image for images in self.splits.values() for image in images]
        self.label_of = {image: _label_file(image) for image in self.images}
        self.split_of = {image: name for name, each in self.splits.items() for image in each}
        self.with_keypoints = 0
        self.names_file = file or self._names_file()
        self.labels += [self.names_file] if self.names_file else []
        self.labels += root.glob(_OBJ_NAMES)
        self.labels += [label for label in self.label_of.values() if os.path.isfile(label)]

    def _names_file(self) -> Path | None:
        """The text file of class names: in the folder, or beside labels, where LabelImg has it."""
        below = {label.parent for label in self.label_of.values()}
        files = [path / 'classes.txt' for path in (self.root, self.root / 'labels', *sorted(below))]
        files = list(dict.fromkeys(filter(Path.is_file, files)))
        if odd := [file for file in files if _lines(file) != _lines(files[0])]:
            raise InputError(f'{odd[0]}: has other classes than {files[0]}; leave one of them')
        return files[0] if files else None

    def _described(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for split, keys in _KEYS.items():
            entry = next((self.content[key] for key in keys if self.content.get(key)), None)
            entries = entry if isinstance(entry, list) else [entry] if entry else []
            if split == 'test' and found['val']:
                # not used, and often not there
                places = [place for item in entries for place in self._places(str(item))]
                found['test'] = [place for place in places if os.path.exists(place)]
                continue
            images = [image for item in entries for image in self._images_at(split, str(item))]
            found[split] = list(dict.fromkeys(images))
        return found

    def _images_at(self, split: str, entry: str) -> Iterator[Path]:
        """The images of a folder, or of a list of them."""
        path = next((path for path in self._places(entry) if os.path.exists(path)), None)
        if path is None:
            raise InputError(
                f'{self.file}: {split}: {entry} is neither below the folder of this file nor below '
                f"its 'path'; correct it, or remove '{split}'"
            )
        path = Path(os.path.normpath(path))
        if os.path.isdir(path):
            yield from find_images(path)
            return
        self.labels.append(path)
        try:
            text = regular_file.read_bytes(path).decode('utf-8-sig')
            lines = [line.strip() for line in text.splitlines()]
        except (UnicodeError, OSError):
            raise InputError(f'{path}: is not UTF-8 text; write one image a line') from None
        missing = []
        for line in filter(None, lines):
            places = [path.parent / line, *self._places(line)]
            image = next((image for image in places if os.path.isfile(image)), None)
            if image is None:
                missing.append(line)
            else:
                yield Path(os.path.normpath(image))
        if missing:
            raise InputError(
                f'{path}: {len(missing)} of {len(lines)} images are not there, the first is '
                f'{missing[0]}; write paths from the folder of the list'
            )

    def _places(self, entry: str) -> Iterator[Path]:
        """Where a path of the YAML or of a list may lead to."""
        assert self.file
        path = Path(entry.replace('\\', '/'))
        # 'path' is often that of another machine; Roboflow writes ../train/images for train/images,
        # and Darknet data/... for paths from the folder
        for base in (self.file.parent / str(self.content.get('path') or ''), self.file.parent):
            if path.parts[:1] == ('..',):  # beside the folder may be another's train/images
                yield base / Path(*path.parts[1:])
            yield base / path
            if path.parts[:1] == ('data',):
                yield base / Path(*path.parts[1:])

    def _undescribed(self) -> dict[str, list[Path]]:
        """Images by the first folder that names a split; '' for those of none."""
        found: dict[str, list[Path]] = {}
        parts = {i: i.relative_to(self.root).parts[:-1] for i in find_images(self.root)}
        inside = {image: names for image, names in parts.items() if 'images' in names}
        for image, names in (inside or parts).items():
            found.setdefault(next(filter(None, map(split_of, names)), ''), []).append(image)
        if '' in found and not {'train', 'val'} <= found.keys():
            return {'': [image for images in found.values() for image in images]}
        return found

    def read(self) -> dict[str, Content]:
        """Read sizes of images, and labels."""
        facts = dict(zip(self.images, look_at_all(self.images)))
        broken = {path: fact for path, fact in facts.items() if fact.fault}
        for path, fact in broken.items():
            self.refuse(
                f'{path} {fact.fault}; {len(broken)} of {len(facts)} images are unusable: replace '
                'or remove them'
            )
            facts[path] = ImageFacts()
        texts = {image: _text(self.label_of[image]) for image in facts}
        self._check_presence(texts)
        parsed = self._parse(texts)
        classes = self._classes(parsed)
        for image, rows in parsed.items():
            for label in {label for label, _ in rows if label >= len(classes)}:
                self.refuse(
                    f'{self.label_of[image]}: class {label}, but {self.names_file} names '
                    f'{len(classes)}, from 0 on; add the name, or correct the label',
                    self.split_of[image],
                )
        labelled = {
            split: [
                LabelledImage(
                    self.relative(image),
                    facts[image].width,
                    facts[image].height,
                    [
                        _object(classes[label], values, facts[image].width, facts[image].height)
                        for label, values in parsed[image]
                        if label < len(classes) and image not in broken
                    ],
                )
                for image in images
            ]
            for split, images in self.splits.items()
        }
        return to_coco(labelled, classes)

    def _parse(self, texts: Mapping[Path, str | None]) -> dict[Path, list[_Row]]:
        """The rows of each image, without lines that are none."""
        parsed: dict[Path, list[_Row]] = {}
        wrong: dict[str, Path] = {}
        for image, text in texts.items():
            parsed[image] = []
            for number, line in enumerate((text or '').splitlines(), 1):
                if not line.strip():
                    continue
                values, fault = self._values(line)
                if fault:
                    wrong[f'line {number} of {self.label_of[image]}, {line!r}: {fault}'] = image
                else:
                    parsed[image].append((int(values[0]), values[1:]))
        if self.with_keypoints:
            self.notes.append(
                f'{self.with_keypoints} objects have keypoints, which are left out: of YOLO pose '
                'boxes are read; to train on keypoints, export COCO'
            )
        elif (count := _keypoints(parsed)) and not wrong:
            self.refuse(
                f'{self.root}: all rows of labels look like boxes with {count} keypoints, and no '
                f'kpt_shape says so; write kpt_shape: [{count}, 3] into data.yaml, and the boxes '
                'are read; to train on keypoints, export COCO'
            )
        for text, image in wrong.items():
            self.refusal = self.refusal or f'{len(wrong)} labels are no good, the first is {text}'
            self.refuse(text, self.split_of[image])
        return parsed

    def _check_presence(self, texts: Mapping[Path, str | None]) -> None:
        """Refuse images of which none has labels; note empty images, and labels without image."""
        without = [image for image, text in texts.items() if text is None]
        if len(without) == len(texts):
            raise InputError(
                f'{self.label_of[without[0]]}: no such file, nor labels of any of {len(texts)} '
                "images; put them there: an image's path with labels/ for images/, and .txt"
            )
        if without:
            self.notes.append(
                f'{len(without)} images have no file of labels, so no objects; the first is '
                f'{without[0]}'
            )
        known = {*self.label_of.values(), *self.labels}
        folders = sorted({label.parent for label in self.label_of.values()})
        files = [file for folder in folders for file in sorted(folder.glob('*.txt'))]
        if odd := [file for file in files if file not in known and file.name != 'classes.txt']:
            self.notes.append(
                f'WARNING: {len(odd)} files of labels have no image, the first is {odd[0]}'
            )

    def _values(self, line: str) -> tuple[list[float], str]:
        """The numbers of a line, keypoints left out, and what is wrong with them, '' if nothing."""
        try:
            values = [float(text) for text in line.split()]
        except ValueError:
            return [], 'write numbers'
        if not all(map(math.isfinite, values)):
            return [], 'write finite numbers'
        shape = self.content.get('kpt_shape')
        if (
            isinstance(shape, list)
            and all(isinstance(number, int) for number in shape)
            and len(values) == 5 + math.prod(shape)
        ):
            values = values[:5]
            self.with_keypoints += 1
        if len(values) < 5 or len(values) % 2 == 0:
            return [], (
                f'{len(values)} numbers; write the class and x, y, width, height, or the class and '
                '3 or more points of a polygon; for keypoints write kpt_shape into data.yaml'
            )
        if values[0] < 0 or values[0] != int(values[0]):
            return [], 'the first number is no class; write 0, 1, 2 ...'
        if max(map(abs, values[1:])) > _LARGEST:
            return [], 'the numbers look like pixels; write shares of the sides of the image'
        return values, ''

    def _classes(self, parsed: Mapping[Path, Sequence[_Row]]) -> list[str]:
        """Class names in the order of their numbers."""
        if self.file:
            return _names(self.content['names'], self.file)
        if self.names_file:
            return _lines(self.names_file)
        highest = max((label for rows in parsed.values() for label, _ in rows), default=0)
        if highest > _MOST_UNNAMED:
            raise InputError(
                f'{self.root}: the highest class of its labels is {highest:.3g}, and no data.yaml '
                'or classes.txt names the classes; correct that label, or add one of these files'
            )
        self.notes.append(
            f'{self.root}: no data.yaml or classes.txt names the classes: called 0 to {highest}'
        )
        return [str(number) for number in range(highest + 1)]


def _names(names: Any, file: Path) -> list[str]:
    """The class names of data.yaml, a list or a dict by number."""
    if isinstance(names, dict):
        try:
            numbered = {int(key): name for key, name in names.items()}
        except (TypeError, ValueError, OverflowError):  # the last one of .inf
            numbered = {}
        if sorted(numbered) != list(range(len(names))):
            raise InputError(
                f'{file}: names has the keys {", ".join(map(str, names))}; number the classes '
                'from 0 on, without a gap'
            )
        names = [numbered[number] for number in range(len(numbered))]
    if not isinstance(names, list) or not names:
        raise InputError(f'{file}: names is {names!r}; write a list of the class names')
    if odd := [name for name in names if name is None or isinstance(name, bool)]:
        raise InputError(
            f'{file}: one of the names is read as {odd[0]}, as YAML reads yes, no, on, off and '
            'null; put it in quotes'
        )
    return [str(name) for name in names]


def _keypoints(parsed: Mapping[Path, Sequence[_Row]]) -> int:
    """The number of keypoints if each row is a box and keypoints with a visibility, else 0.

    As polygons, all would have the same number of points, and whole numbers for each third one.
    """
    rows = [values for found in parsed.values() for _, values in found]
    length = len(rows[0]) if rows else 4
    count = (length - 4) // 3
    is_pose = count and all(
        len(row) == length == 4 + 3 * count and {*row[6::3]} <= {0, 1, 2} for row in rows
    )
    return count if is_pose else 0


def _label_file(image: Path) -> Path:
    """The text file of an image: in labels/ in place of the last images/, else beside it."""
    parts = image.parts
    beside = image.with_suffix('.txt')
    if 'images' not in parts[:-1]:
        return beside
    last = len(parts) - 1 - parts[::-1].index('images')
    swapped = Path(*parts[:last], 'labels', *parts[last + 1 :]).with_suffix('.txt')
    return beside if not os.path.isfile(swapped) and os.path.isfile(beside) else swapped


def _text(file: Path) -> str | None:
    """The text of a file, None if there is none."""
    try:
        return regular_file.read_bytes(file).decode('utf-8-sig')
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise InputError(f'{file}: cannot be read ({error}); write it as UTF-8 text') from None


def _lines(file: Path) -> list[str]:
    """The lines of a file that are not empty."""
    return [line.strip() for line in (_text(file) or '').splitlines() if line.strip()]


def _object(name: str, values: Sequence[float], width: int, height: int) -> LabelledObject:
    """An object of shares: x, y of the centre, width, height of a box; or points of a polygon."""
    pixels = np.array(values).reshape(-1, 2) * (width, height)
    if len(pixels) > 2:
        return LabelledObject.of_polygons(name, [pixels])
    centre, extent = pixels
    return LabelledObject(name, [*(centre - extent / 2), *extent])

"""LabelMe's JSON files, one an image."""

import base64
import binascii
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from mmscratch.data.exports.coco_export import top_level_keys
from mmscratch.data.exports.export import (
    LARGEST,
    Content,
    Export,
    LabelledImage,
    LabelledObject,
    ellipse,
    mask_of_part,
    split_of,
    to_coco,
)
from mmscratch.data.image_check import IMAGE_SUFFIXES, find_files, look_at_all
from mmscratch.errors import InputError
from mmscratch.process import regular_file

_OUTLINES = ('polygon', 'oriented_rectangle', 'rotation')
_KINDS = (*_OUTLINES, 'rectangle', 'circle', 'mask')
_LOOKS = 5  # first files of a folder, some of which may be of another kind


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = 'polygon'
    group_id: int | str | None = None
    mask: str | None = None


class _Annotation(msgspec.Struct):
    """A file; its ``imageData``, a copy of the image, is not read."""

    shapes: list[_Shape]
    image: str = msgspec.field(name='imagePath')
    width: int | None = msgspec.field(name='imageWidth', default=None)
    height: int | None = msgspec.field(name='imageHeight', default=None)


def recognise(root: Path) -> 'LabelMeExport | None':
    """Recognise the keys of one of the first JSON files of a folder, at any depth."""
    files = sorted(find_files(root, ('.json',)))
    seen: Counter[Path] = Counter()
    for file in files:
        seen[file.parent] += 1
        if seen[file.parent] <= _LOOKS and {'shapes', 'imagePath'} <= top_level_keys(file):
            return LabelMeExport(root, files)
    return None


class LabelMeExport(Export):
    """Shapes of a group, of one label in one image, are one object of several parts.

    Points and lines are no objects.
    """

    def __init__(self, root: Path, files: list[Path]) -> None:
        super().__init__(root, 'LabelMe')
        found: dict[str, list[Path]] = {}
        for file in files:
            parts = file.relative_to(root).parts[:-1]
            found.setdefault(next(filter(None, map(split_of, parts)), ''), []).append(file)
        self.splits = self.settle_splits(found) or {'all': files}
        self.labels = [file for files in self.splits.values() for file in files]
        self.sources = dict.fromkeys(self.splits, root)
        self.split_of = {file: name for name, each in self.splits.items() for file in each}

    def read(self) -> dict[str, Content]:
        """Read all files; classes are the labels of all shapes, sorted."""
        read = {file: self._read(file) for file in self.labels}
        annotations = {file: found for file, found in read.items() if found}
        paths = {file: self._image_of(file, found) for file, found in annotations.items()}
        unsized = [
            file for file, found in annotations.items() if not (found.width and found.height)
        ]
        for file, fact in zip(unsized, look_at_all([paths[file] for file in unsized])):
            if fact.fault and paths[file].is_file():
                self.refuse(f'{paths[file]} {fact.fault}; replace it, or remove {file}')
            annotations[file].width, annotations[file].height = fact.width, fact.height
        left_out: Counter[str] = Counter()
        images = {}
        for file, found in annotations.items():
            try:
                images[file] = _image(file, found, self.relative(paths[file]), left_out)
            except InputError as error:
                self.refuse(str(error), self.split_of[file])
        if left_out:
            kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(left_out.items()))
            self.notes.append(f'shapes that are no objects are left out: {kinds}')
        self._note_unlabelled(paths.values())
        classes = {item.name for image in images.values() for item in image.objects}
        if not classes:
            raise InputError(
                self.refusal
                or f'{self.root}: no shape in its {len(read)} JSON files; label objects'
            )
        labelled = {
            split: [images[file] for file in files if file in images]
            for split, files in self.splits.items()
        }
        return to_coco(labelled, sorted(classes))

    def _read(self, file: Path) -> _Annotation | None:
        """The content of a file; None if it is another kind of JSON, or cannot be read."""
        try:
            return msgspec.json.decode(regular_file.read_bytes(file), type=_Annotation)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            keys = top_level_keys(file)
            if not keys or {'shapes', 'imagePath'} <= keys:
                self.refuse(
                    f'{file}: cannot be read ({error}); open the image in LabelMe and save it '
                    'again',
                    self.split_of[file],
                )
            return None

    def _image_of(self, file: Path, found: _Annotation) -> Path:
        """The image beside a file, or where ``imagePath`` says, whether it is there or not."""
        named = PurePosixPath(found.image.replace('\\', '/'))
        places = [file.parent / named, file.parent / named.name, self.root / 'images' / named.name]
        places += [file.with_suffix(suffix) for suffix in IMAGE_SUFFIXES]
        for place in places:
            if os.path.isfile(place):
                return Path(os.path.normpath(place))
        self.refuse(
            f"{file}: its image '{found.image}' is not in {places[0].parent}; put it there, or "
            'remove this file'
        )
        return Path(os.path.normpath(places[0]))

    def _note_unlabelled(self, images: Iterable[Path]) -> None:
        """Note images without a file: nobody has said that they have no objects."""
        labelled = set(images)
        folders = sorted({path.parent for path in labelled})
        odd = [
            path
            for folder in folders
            for path in sorted(folder.iterdir() if folder.is_dir() else ())
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in labelled
        ]
        if odd:
            self.notes.append(
                f'{len(odd)} images have no JSON and are left out, the first is {odd[0]}; save '
                'those without objects in LabelMe, too'
            )


def _image(file: Path, found: _Annotation, name: str, left_out: Counter[str]) -> LabelledImage:
    """The image of a file, and its objects; shapes that are none are counted in `left_out`."""
    image = LabelledImage(name, found.width or 0, found.height or 0)
    groups: dict[tuple, list[_Shape]] = {}
    for number, shape in enumerate(found.shapes):
        kind = shape.shape_type or 'polygon'
        if kind not in _KINDS:
            left_out[kind] += 1
            continue
        key = ('', number) if shape.group_id is None else (shape.label, shape.group_id)
        groups.setdefault(key, []).append(shape)
    image.objects = [_object(file, image, shapes) for shapes in groups.values()]
    return image


def _object(file: Path, image: LabelledImage, shapes: Sequence[_Shape]) -> LabelledObject:
    """The object of a group of shapes; it has a mask if each of them has."""
    name = shapes[0].label
    polygons, masks, corners = [], [], []
    for shape in shapes:
        points = np.array(shape.points, float).reshape(-1, 2)
        kind = shape.shape_type or 'polygon'
        if len(points) < (3 if kind in _OUTLINES else 2):
            raise InputError(
                f"{file}: a {kind} of '{name}' has {len(points)} points; draw it again"
            )
        if not np.abs(points).max() < LARGEST:
            raise InputError(
                f"{file}: a {kind} of '{name}' has a point beyond {LARGEST:g}; correct it"
            )
        if kind == 'circle':
            centre, rim = points[:2]
            points = ellipse(centre, [float(np.linalg.norm(rim - centre))] * 2)
        if kind == 'mask':
            masks.append(_mask(file, shape, image))
        elif kind != 'rectangle':
            polygons.append(points)
        corners.append(points)
    if masks and len(masks) + len(polygons) == len(shapes):
        size = image.height, image.width
        parts = [part.ravel().tolist() for part in polygons]
        rles = [*masks, *(mask_utils.frPyObjects(parts, *size) if parts else [])]
        return LabelledObject.of_mask(name, mask_utils.merge(rles))
    if len(polygons) == len(shapes):
        return LabelledObject.of_polygons(name, polygons)
    box = LabelledObject.of_polygons(name, corners).box
    return LabelledObject(name, box)


def _mask(file: Path, shape: _Shape, image: LabelledImage) -> dict:
    """The RLE of a shape whose ``mask`` is a PNG of the part from its first point on."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.mask or ''))) as png:
            part = np.asarray(png.convert('1'))
    except (OSError, binascii.Error) as error:
        raise InputError(
            f"{file}: a mask of '{shape.label}' cannot be read ({error}); draw it again"
        ) from None
    return mask_of_part(part, shape.points[0], image.height, image.width)

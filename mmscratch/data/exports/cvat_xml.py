"""CVAT's own XML, "CVAT for images 1.1" (docs.cvat.ai, "XML annotation format")."""

import math
import os
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np

from mmscratch.data import xml_file
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
from mmscratch.data.image_check import MOST_PIXELS
from mmscratch.errors import InputError
from mmscratch.process import regular_file

_OTHERS = ('tag', 'points', 'polyline', 'skeleton', 'cuboid')  # labels that are of no object


def recognise(root: Path) -> 'CvatXmlExport | None':
    """Recognise annotations.xml by its root element."""
    file = root / 'annotations.xml'
    if file.is_file():
        with file.open('rb') as content:
            if b'<annotations>' in content.read(1024):
                return CvatXmlExport(root, file)
    return None


class CvatXmlExport(Export):
    """Boxes, polygons, ellipses and masks; a turned box is a polygon.

    Other shapes are no objects. Subsets of a project are its splits.
    """

    def __init__(self, root: Path, file: Path) -> None:
        super().__init__(root, 'CVAT for images')
        self.file = file
        self.sources = {'all': file}
        self.labels = [file]

    def read(self) -> dict[str, Content]:
        """Read the file; classes are in the order of the labels."""
        try:
            top = xml_file.parse(regular_file.read_bytes(self.file))
        except (ET.ParseError, OSError, ValueError, LookupError) as error:
            raise InputError(f'{self.file}: cannot be read ({error}); export it again') from None
        if top.find('image') is None:
            is_video = top.find('track') is not None
            raise InputError(
                f'{self.file}: has no image'
                + ', but tracks of a video' * is_video
                + '; export "CVAT for images 1.1" or "COCO 1.0", with images'
            )
        known = [
            label.findtext('name', '')
            for label in top.iterfind('./meta//labels/label')
            if label.findtext('type') not in _OTHERS and label.find('parent') is None
        ]
        left_out: Counter[str] = Counter()
        found: dict[str, list[LabelledImage]] = {}
        for node in top.iterfind('image'):
            split = split_of(node.get('subset', ''))
            try:
                found.setdefault(split, []).append(self._image(node, left_out))
            except (ValueError, LookupError, TypeError) as error:
                self.refuse(
                    f"{self.file}: image '{node.get('name')}' has a shape that cannot be read "
                    f'({error}); export it again',
                    split,
                )
        if left_out:
            kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(left_out.items()))
            self.notes.append(f'shapes that are no objects are left out: {kinds}')
        splits = self.settle_splits(found) or {'all': [i for each in found.values() for i in each]}
        self.sources = dict.fromkeys(splits, self.file)
        used = {item.name for images in splits.values() for i in images for item in i.objects}
        return to_coco(splits, list(dict.fromkeys([*known, *sorted(used)])))

    def _image(self, node: ET.Element, left_out: Counter[str]) -> LabelledImage:
        name, subset = node.attrib['name'], node.get('subset', '')
        top = self.root / 'images'
        places = [top / subset / name, top / name, self.root / name, top / 'default' / name]
        place = next(filter(os.path.isfile, places), places[0])
        if not os.path.isfile(place):
            self.refuse(f"{self.file}: its image '{name}' is not in {top}; export with images")
        width, height = (int(node.attrib[side]) for side in ('width', 'height'))
        if not 0 < width * height <= MOST_PIXELS:
            raise ValueError(f'an image of {width} x {height} pixels')
        image = LabelledImage(self.relative(place), width, height)
        for shape in node:
            if (item := _object(shape, width, height)) is not None:
                image.objects.append(item)
            else:
                left_out[shape.tag] += 1
        return image


def _object(shape: ET.Element, width: int, height: int) -> LabelledObject | None:
    """The object of a shape in an image of that size; None for a shape of another kind."""

    def numbers(*keys: str) -> list[float]:
        return [_number(shape.attrib[key]) for key in keys]

    turn = math.radians(_number(shape.get('rotation', '0')))
    if shape.tag == 'box':
        x1, y1, x2, y2 = numbers('xtl', 'ytl', 'xbr', 'ybr')
        points = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        if not turn:
            return LabelledObject(shape.attrib['label'], [x1, y1, x2 - x1, y2 - y1])
    elif shape.tag == 'ellipse':
        points = ellipse(numbers('cx', 'cy'), numbers('rx', 'ry'))
    elif shape.tag == 'polygon':
        pairs = shape.attrib['points'].split(';')
        points = np.array([list(map(_number, pair.split(','))) for pair in pairs]).reshape(-1, 2)
    elif shape.tag == 'mask':
        columns, rows = map(int, numbers('width', 'height'))
        if columns > width or rows > height:
            raise ValueError(f'a mask of {columns} x {rows} pixels in {width} x {height}')
        part = _part(shape, columns, rows)
        mask = mask_of_part(part, numbers('left', 'top'), height, width)
        return LabelledObject.of_mask(shape.attrib['label'], mask)
    else:
        return None
    if turn:  # clockwise, about the centre
        centre = (points.min(0) + points.max(0)) / 2
        cos, sin = math.cos(turn), math.sin(turn)
        points = centre + (points - centre) @ np.array([[cos, sin], [-sin, cos]])
    return LabelledObject.of_polygons(shape.attrib['label'], [points])


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) < LARGEST:
        raise ValueError(f'the number {text}')
    return value


def _part(shape: ET.Element, columns: int, rows: int) -> np.ndarray:
    """The pixels of a mask (rows, columns), from runs of 0 and 1 in turn, row by row."""
    # Python's numbers, whose sum does not wrap around
    runs = list(map(int, shape.attrib['rle'].split(',')))
    if sum(runs) != rows * columns or min(runs) < 0:
        raise ValueError(f'runs of {sum(runs)} pixels for {columns} x {rows}')
    return np.repeat(np.arange(len(runs)) % 2, runs).reshape(rows, columns).astype(np.uint8)

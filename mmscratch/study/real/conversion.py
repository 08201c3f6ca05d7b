"""Makes the study's data sets from clones of their sources, byte for byte.

OpenCV 4.10 and 5.0 give the same bytes. Another version may encode images in other bytes. If it
rounds the masks of shrunk images to others, the check of the annotations tells.
"""

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle

from mmscratch.data import voc_xml
from mmscratch.data.coco_folder import SPLITS
from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.study.real import data

_LONGEST = 512  # pixels of a side of an image of nuclei
_MOST_NUCLEI = 100  # COCO's AP looks at as many detections an image


@dataclass(frozen=True)
class _Image:
    """A file in JPEG, its width and height in pixels, and its COCO annotations without ids."""

    file_name: str
    content: bytes
    size: tuple[int, int]
    objects: list[dict[str, Any]]


@dataclass(frozen=True)
class _Conversion:
    """A data set as its annotation files describe it, and how to read its source.

    `split` maps the source's folder to images by split, in the order of their ids. `read` turns the
    folder and one of these into an image.
    """

    description: str
    licence: tuple[str, str]
    supercategory: str
    classes: tuple[str, ...]
    split: Callable[[Path], dict[str, list[str]]]
    read: Callable[[Path, str], _Image]


def convert(name: str, source: Path, out: Path) -> None:
    """Write a data set in COCO layout. The folder appears when it is complete.

    Args:
        name: a key of ``data.SOURCES``.
        source: a clone of the source's repository.
        out: the folder to write; it must not exist.

    Raises:
        InputError: `out` exists, or `source` is another folder, has faults, or gives other
            annotations than those of the committed results.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f'{out}: exists; remove it to make it anew')
    conversion, origin = _CONVERSIONS[name], data.SOURCES[name]
    with _refused(source, origin.url):
        images = conversion.split(source)
    contents = {split: _header(conversion, origin.url) for split in SPLITS}
    with whole_file.folder(out) as unfinished:
        for part in (*SPLITS, 'annotations'):
            (unfinished / part).mkdir(parents=True)
        work = [(split, image) for split in SPLITS for image in images[split]]
        for split, image_name in ProgressBar(work, 'images'):
            with _refused(source, origin.url):
                image = conversion.read(source, image_name)
            (unfinished / split / image.file_name).write_bytes(image.content)
            _add(contents[split], image)
        for split, content in contents.items():
            text = json.dumps(content, separators=(',', ':'))
            (unfinished / f'annotations/instances_{split}.json').write_text(f'{text}\n')
        if (digest := data.checksum(unfinished)) != origin.sha256:
            raise InputError(
                f'{source}: gives other annotations than those of the committed results (SHA-256 '
                f'{digest[:12]}..., not {origin.sha256[:12]}...); clone it anew, git checkout '
                f'{origin.commit} there, and use the versions of requirements.txt'
            )


@contextlib.contextmanager
def _refused(source: Path, url: str) -> Iterator[None]:
    """Turn a file that is missing or wrong into a fault of the source."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(
            f'{source}: not a whole clone of {url} ({error}); clone it anew, and give its folder'
        ) from None


def _header(conversion: _Conversion, url: str) -> dict[str, Any]:
    licence, licence_url = conversion.licence
    return dict(
        info=dict(description=conversion.description, version='1.0', url=url),
        licenses=[dict(id=1, name=licence, url=licence_url)],
        images=[],
        annotations=[],
        categories=[
            dict(id=number, name=name, supercategory=conversion.supercategory)
            for number, name in enumerate(conversion.classes, 1)
        ],
    )


def _add(content: dict[str, Any], image: _Image) -> None:
    rows, number = content['annotations'], len(content['images']) + 1
    width, height = image.size
    content['images'].append(
        dict(id=number, file_name=image.file_name, width=width, height=height, license=1)
    )
    for row in image.objects:
        rows.append(dict(id=len(rows) + 1, image_id=number, **row))


def _object(category_id: int, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    """An annotation with a box in pixels."""
    box = [float(value) for value in (x, y, width, height)]
    return dict(category_id=category_id, bbox=box, area=box[2] * box[3], iscrowd=0)


def _pixels(file: Path, flags: int) -> np.ndarray:
    """Decode an image, with OpenCV's flags; OSError or ValueError if there is none."""
    content = np.fromfile(file, np.uint8)
    pixels = cv2.imdecode(content, flags) if content.size else None
    if pixels is None:
        raise ValueError(f'{file} is no image')
    return pixels


def _shrunk(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The means over areas; `size` is (width, height)."""
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _split_at_random(names: list[str]) -> dict[str, list[str]]:
    """80 % to train on."""
    if not names:
        raise ValueError('no images')
    names = sorted(names)
    random.Random(0).shuffle(names)
    count = len(names) * 8 // 10
    return dict(train=sorted(names[:count]), val=sorted(names[count:]))


def _split_boards(source: Path) -> dict[str, list[str]]:
    lists = zip(SPLITS, ('trainval.txt', 'test.txt'))
    return {split: (source / 'PCBData' / file).read_text().splitlines() for split, file in lists}


def _read_board(source: Path, line: str) -> _Image:
    """Read what a line of a list names: the image, without its ending _test, and the boxes."""
    image, boxes = (source / 'PCBData' / name for name in line.split())
    pixels = _pixels(image.with_name(f'{image.stem}_test.jpg'), cv2.IMREAD_GRAYSCALE)
    size = pixels.shape[1] // 2, pixels.shape[0] // 2
    objects = []
    for row in boxes.read_text().splitlines():
        x1, y1, x2, y2, category_id = map(int, row.split())
        objects.append(_object(category_id, x1 / 2, y1 / 2, (x2 - x1) / 2, (y2 - y1) / 2))
    return _Image(f'{image.stem}.jpg', _jpeg(_shrunk(pixels, size), 80), size, objects)


def _split_smears(source: Path) -> dict[str, list[str]]:
    return _split_at_random([file.stem for file in (source / 'BCCD/JPEGImages').glob('*.jpg')])


def _read_smear(source: Path, name: str) -> _Image:
    file = source / f'BCCD/Annotations/{name}.xml'
    found = voc_xml.read(file)
    if found.unreadable or found.faults or found.size is None:
        raise ValueError(f'{file}: {found.unreadable or found.faults or "no size"}')
    objects = []
    for item in found.objects:
        x1, y1, x2, y2 = item.box
        if x1 < x2 and y1 < y2:
            category_id = _CONVERSIONS['bccd'].classes.index(item.name) + 1
            objects.append(_object(category_id, x1, y1, x2 - x1, y2 - y1))
    image = source / f'BCCD/JPEGImages/{name}.jpg'
    return _Image(image.name, image.read_bytes(), found.size, objects)


def _split_nuclei(source: Path) -> dict[str, list[str]]:
    folders = [path.parent for path in (source / 'stage1_train').glob('*/masks')]
    return _split_at_random(
        [path.name for path in folders if len(list(path.glob('masks/*.png'))) <= _MOST_NUCLEI]
    )


def _read_nuclei(source: Path, name: str) -> _Image:
    folder = source / 'stage1_train' / name
    pixels = _pixels(folder / f'images/{name}.png', cv2.IMREAD_COLOR)
    height, width = pixels.shape[:2]
    scale = min(1, _LONGEST / max(height, width))
    size = round(width * scale), round(height * scale)
    objects = []
    for file in sorted(folder.glob('masks/*.png')):
        mask = (_pixels(file, cv2.IMREAD_GRAYSCALE) > 0).astype(np.float32)
        encoded = rle.encode(np.asfortranarray(_shrunk(mask, size) >= 0.5, np.uint8))
        row, area = _object(1, *rle.toBbox(encoded)), float(rle.area(encoded))
        segmentation = dict(encoded, counts=encoded['counts'].decode())
        objects.append(dict(row, area=area, segmentation=segmentation))
    return _Image(f'{name}.jpg', _jpeg(_shrunk(pixels, size), 95), size, objects)


_CONVERSIONS = {
    'deeppcb': _Conversion(
        'DeepPCB, tested images',
        ('MIT', 'https://opensource.org/license/mit'),
        'defect',
        ('open', 'short', 'mousebite', 'spur', 'copper', 'pin-hole'),
        _split_boards,
        _read_board,
    ),
    'bccd': _Conversion(
        'BCCD (blood cells)',
        ('MIT', 'https://github.com/Shenggan/BCCD_Dataset/blob/master/LICENSE'),
        'blood cell',
        ('RBC', 'WBC', 'Platelets'),
        _split_smears,
        _read_smear,
    ),
    'nuclei_dsb2018': _Conversion(
        'DSB 2018 stage1_train nuclei, with the lopuhin fixes',
        ('CC0 1.0', 'https://creativecommons.org/publicdomain/zero/1.0/'),
        'cell',
        ('nucleus',),
        _split_nuclei,
        _read_nuclei,
    ),
}

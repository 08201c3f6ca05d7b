"""Checks image files without decoding them: format, completeness, size after loading."""

import functools
import importlib
import logging
import math
import os
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmscratch.errors import InputError
from mmscratch.process.progress_bar import ProgressBar
from mmscratch.process.regular_file import open_regular

# Of two images of one name in VOC layout the first suffix counts.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.npy', '.dcm')
TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the last two are of BigTIFF
# What the file of a whole image ends with; cameras and editors may add bytes after it.
_END_MARKERS = {
    'JPEG': b'\xff\xd9',
    'MPO': b'\xff\xd9',
    'PNG': b'IEND\xae\x42\x60\x82',
}
_TAIL = 1024
# OpenCV, which reads this variable too, decodes no larger ones: an image takes 3 GB then
_LIMIT = 'OPENCV_IO_MAX_IMAGE_PIXELS'
_UNITS = {'': 1, 'KB': 2**10, 'MB': 2**20}  # as OpenCV reads it


def find_images(folder: Path) -> Iterator[Path]:
    """Find the images in a folder and in those within it, by suffix, in the order of their paths.

    An array beside an image of its name is left out: Ultralytics keeps such copies, as BGR.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f'--images {folder}: no such folder')
    found = sorted(find_files(folder, IMAGE_SUFFIXES))
    others = {path.with_suffix('') for path in found if path.suffix.lower() != '.npy'}
    copies = {p for p in found if p.suffix.lower() == '.npy' and p.with_suffix('') in others}
    if copies:
        _warn(
            f'{folder}: {len(copies)} arrays (.npy) are left out: beside each is an image of its '
            f'name, the first is {min(copies)}'
        )
    yield from (path for path in found if path not in copies)


def find_files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Find files in a folder and in those within it, hidden ones left out; links are followed."""
    seen: set[str] = set()
    for parent, below, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            below.clear()  # a link led back
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith('.'))
        for name in names:
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(parent, name)


@functools.cache  # a run lists a folder several times
def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _most_pixels() -> int:
    text = os.environ.get(_LIMIT) or str(2**30)
    match = re.fullmatch(r'(\d+)(KB|MB)?', text)
    if not match:
        raise InputError(f'{_LIMIT}={text}: give a number of pixels')
    return int(match[1]) * _UNITS[match[2] or '']


MOST_PIXELS = _most_pixels()
ORIENTATION = 0x0112  # the tag of EXIF and TIFF
TURNED = range(5, 9)  # The orientations that swap width and height.
_PNG_BITS = 24  # Where the header has them, after the size of the image; the colour type follows.
# As OpenCV loads them, by colour type: a palette has colours, and grey with alpha is colour too.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}
# Tags of TIFF: width, height, BitsPerSample, SamplesPerPixel, PlanarConfiguration, SampleFormat.
_TIFF_SIZE, _TIFF_BITS, _TIFF_SAMPLES, _TIFF_PLANES, _TIFF_FORMAT = (256, 257), 258, 277, 284, 339
_TIFF_KINDS = {1: 'uint', 2: 'int', 3: 'float'}

_TIMES = 4  # an array whose other sides are longer than so many times the first is [C, H, W]


@dataclass(frozen=True)
class ImageFacts:
    """What :func:`look_at` found; `width`, `height` are those of the image as it is loaded.

    `fingerprint` (file size, CRC of the last KiB) is the same for copies of a file, and differs
    for other files since their pixels are compressed; None for formats other than JPEG and PNG.
    `place` is the device and the inode of the file, equal for links to it alone, or None.
    `bits` is that of a channel. `channels` counts those of the file (pages of a TIFF, alpha too),
    and `dtype` is NumPy's name of their type. `fault` says what is wrong, '' if nothing is, and
    `not_for_opencv` why a whole image is none that OpenCV loads.
    """

    width: int = 0
    height: int = 0
    fingerprint: tuple[int, int] | None = None
    bits: int = 8
    channels: int = 3
    dtype: str = 'uint8'
    fault: str = ''
    not_for_opencv: str = ''
    place: tuple[int, int] | None = None

    @property
    def kind(self) -> str:
        """Such as ``5 channels of uint16``."""
        return f'{self.channels} channel{"s" * (self.channels > 1)} of {self.dtype}'


def look_at(path: Path) -> ImageFacts:
    """Read the header and the end of one file; no pixel is decoded (about 0.1 ms)."""
    try:
        with open_regular(path) as file:
            head = file.read(132)
            file.seek(0)
            if head.startswith(np.lib.format.MAGIC_PREFIX):
                facts = _npy(file)
            elif head.startswith(TIFF_MAGIC):
                facts = _tiff(file)
            elif head.endswith(b'DICM'):
                facts = _dicom(path)
            else:
                facts = _picture(path, file)
    except UnidentifiedImageError:
        if path.suffix.lower() == '.dcm':
            return ImageFacts(
                fault='has no DICM mark at byte 128: save it as a DICOM file (part 10 of the '
                'standard)'
            )
        return ImageFacts(fault=f'is not an image ({path.stat().st_size} bytes)')
    except InputError as error:
        return ImageFacts(fault=str(error).removeprefix(f'{path} '))
    except Exception as error:  # Pillow's, for a forged header, are of many kinds
        return ImageFacts(fault=f'cannot be read ({" ".join(str(error).split())[:200]})')
    if facts.width * facts.height * max(facts.channels / 4, 1) > MOST_PIXELS:
        fault = (
            f'has {facts.width} x {facts.height} pixels, {facts.kind}, and {MOST_PIXELS:,} pixels '
            f'are the limit: reduce it, or raise the limit by the environment variable {_LIMIT}'
        )
        return replace(facts, fault=facts.fault or fault)
    return facts


def _picture(path: Path, file: BinaryIO) -> ImageFacts:
    """The facts of a file of one of the formats that OpenCV reads, or could."""
    with Image.open(file) as image:
        header_end = file.tell()
        width, height = image.size
        # MMDetection loads with OpenCV, which turns the image as its EXIF data say.
        if 'exif' in image.info and image.getexif().get(ORIENTATION) in TURNED:
            width, height = height, width
        # every build of OpenCV reads the formats with end markers, and asking takes time
        if image.format not in _END_MARKERS and not cv2.haveImageReader(str(path)):
            return ImageFacts(
                fault=f'is in the format {image.format}, which OpenCV cannot load (save it as PNG)'
            )
        bits, channels = 8, 1 if image.mode == 'L' else 3
        if image.format == 'PNG':
            file.seek(_PNG_BITS)
            bits, colour = file.read(2)
            channels = _PNG_CHANNELS[colour]
        size = file.seek(0, os.SEEK_END)
        file.seek(max(header_end, size - _TAIL))
        tail = file.read()
        marker = _END_MARKERS.get(image.format or '')
        if marker and marker not in tail:
            file.seek(header_end)
            if marker not in file.read():
                return ImageFacts(fault=f'is cut short ({size} bytes, no end marker)')
    fingerprint = (size, zlib.crc32(tail)) if marker else None
    return ImageFacts(width, height, fingerprint, bits, channels, _dtype('uint', bits))


def _tiff(file: BinaryIO) -> ImageFacts:
    """The facts of a TIFF. Pages of the first one's form are channels, others are left out."""
    head = file.read(8)
    head += file.read(8) if 43 in head[2:4] else b''  # BigTIFF
    pages: dict[int, tuple[int, ...]] = {}
    turn = 0
    place = ImageFileDirectory_v2(head).next
    while place and place not in pages:  # the pages of a damaged file may go round
        file.seek(place)
        directory = ImageFileDirectory_v2(head)
        directory.load(file)
        width, height = (int(directory[tag]) for tag in _TIFF_SIZE)
        bits = max(directory.get(_TIFF_BITS, (1,)))
        kind = directory.get(_TIFF_FORMAT, (1,))[0]
        form = (directory.get(_TIFF_SAMPLES, 1), kind, directory.get(_TIFF_PLANES, 1))
        pages[place] = (width, height, bits, *form)
        turn = turn or directory.get(ORIENTATION, 1)  # that of the first page
        place = directory.next
    forms = list(pages.values())
    width, height, bits, samples, kind, planes = forms[0]
    if turn in TURNED:
        width, height = height, width
    channels = samples * forms.count(forms[0])
    dtype = _dtype(_TIFF_KINDS.get(kind, f'format {kind} of '), bits)
    # OpenCV loads the first page, and mistakes other bands for one
    is_foreign = channels > samples or samples not in (1, 3, 4) or (planes == 2 and samples > 1)
    foreign = f'{channels} channels in pages or bands' if is_foreign else ''
    return _facts(width, height, channels, dtype, bits, foreign)


def _npy(file: BinaryIO) -> ImageFacts:
    """The facts of an array [H, W] or [H, W, C]."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    if len(shape) not in (2, 3):
        return ImageFacts(fault=f'has the shape {shape}, and images have [H, W] or [H, W, C]')
    if len(shape) == 3 and shape[0] * _TIMES < min(shape[1:]):
        return ImageFacts(
            fault=f'has the shape {shape}, which looks like [C, H, W]: save it as [H, W, C]'
        )
    channels = shape[2] if len(shape) == 3 else 1
    if dtype.hasobject or file.seek(0, os.SEEK_END) < math.prod(shape) * dtype.itemsize:
        return ImageFacts(fault=f'is cut short, or holds other than numbers ({dtype})')
    return _facts(shape[1], shape[0], channels, dtype.name, dtype.itemsize * 8, 'the format .npy')


def _dicom(path: Path) -> ImageFacts:
    """The facts of a DICOM file, whose values are float32 after its own rescaling."""
    header = needed('pydicom', path).dcmread(path, stop_before_pixels=True)
    channels = int(header.SamplesPerPixel) * int(header.get('NumberOfFrames') or 1)
    return _facts(header.Columns, header.Rows, channels, 'float32', 32, 'the format DICOM')


def _facts(
    width: int, height: int, channels: int, dtype: str, bits: int, foreign: str
) -> ImageFacts:
    if bits > 16 and not foreign:
        foreign = f'{bits} bits a channel'
    why = f'has {foreign}, which OpenCV cannot load' + ' (rescale it to 8 bits)' * (bits > 16)
    return ImageFacts(
        width, height, None, bits, channels, dtype, not_for_opencv=why if foreign else ''
    )


def _dtype(kind: str, bits: int) -> str:
    """NumPy's name of a type; bits under 8 are loaded as 8."""
    return f'{kind}{max(bits, 8)}'


def needed(package: str, path: Path | str) -> ModuleType:
    """An optional package that reads a format.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"{path} needs the package {package} to be read: pip install -e '.[sensors]'"
        ) from None


def look_at_all(paths: Sequence[Path], threads: int = 4) -> list[ImageFacts]:
    """The facts of each path, in order, with a progress bar for a large set."""
    with any_size(), ThreadPool(threads) as pool:
        # in chunks: a task an image, or more threads, cost more than most headers
        facts = pool.imap(look_at, paths, chunksize=64)
        return list(ProgressBar(facts, 'checking images', len(paths), leave=False, delay=1))


def folded(name: str) -> str:
    """The name of a file without differences of letter case and Unicode form."""
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


@contextmanager
def any_size() -> Iterator[None]:
    """Pillow refuses to open images of 179 megapixels or more; their headers are harmless."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit

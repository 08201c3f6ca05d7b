"""Checks image files without decoding them: format, completeness, size after loading."""

import os
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO

import cv2
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mmscratch.data.progress_bar import ProgressBar

# Of two images of one name in VOC layout the first suffix counts.
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# What the file of a whole image ends with; cameras and editors may add bytes after it.
_END_MARKERS = {
    'JPEG': b'\xff\xd9',
    'MPO': b'\xff\xd9',
    'PNG': b'IEND\xae\x42\x60\x82',
}
_TAIL = 1024
_EXIF_ORIENTATION = 0x0112
_TURNED = range(5, 9)  # The orientations that swap width and height.
_TIFF_BITS = 258  # The tag BitsPerSample.
_PNG_BITS = 24  # Where the header has them, after the size of the image.


@dataclass(frozen=True)
class ImageFacts:
    """What :func:`look_at` found; `width`, `height` are those of the image as OpenCV loads it.

    `fingerprint` (file size, CRC of the last KiB) is the same for copies of a file, and differs
    for other files since their pixels are compressed; None for formats other than JPEG and PNG.
    `bits` is that of a channel. `fault` says what is wrong, '' if nothing is.
    """

    width: int = 0
    height: int = 0
    fingerprint: tuple[int, int] | None = None
    bits: int = 8
    fault: str = ''


def look_at(path: Path) -> ImageFacts:
    """Read the header and the end of one file; no pixel is decoded (about 0.1 ms)."""
    try:
        with path.open('rb') as file, Image.open(file) as image:
            header_end = file.tell()
            width, height = image.size
            # MMDetection loads with OpenCV, which turns the image as its EXIF data say.
            if 'exif' in image.info and image.getexif().get(_EXIF_ORIENTATION) in _TURNED:
                width, height = height, width
            bits = _bits(image, file)
            if fault := _not_for_opencv(image, path, bits):
                return ImageFacts(fault=fault)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(header_end, size - _TAIL))
            tail = file.read()
            marker = _END_MARKERS.get(image.format or '')
            if marker and marker not in tail:
                file.seek(header_end)
                if marker not in file.read():
                    return ImageFacts(fault=f'is cut short ({size} bytes, no end marker)')
    except UnidentifiedImageError:
        return ImageFacts(fault=f'is not an image ({path.stat().st_size} bytes)')
    except (OSError, SyntaxError, ValueError) as error:
        return ImageFacts(fault=f'cannot be read ({error})')
    return ImageFacts(width, height, (size, zlib.crc32(tail)) if marker else None, bits)


def _bits(image: Image.Image, file: BinaryIO) -> int:
    """Bits of a channel in the file; Pillow calls colour RGB whether it has 8 or 16."""
    if image.format == 'PNG':
        file.seek(_PNG_BITS)
        return file.read(1)[0]
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_TIFF_BITS, (1,)))
    return {'F': 32, 'I': 16}.get(image.mode[0], 8)


def _not_for_opencv(image: Image.Image, path: Path, bits: int) -> str:
    """Why OpenCV cannot load an image that Pillow has opened; '' if it can."""
    # every build of OpenCV reads these, and asking takes time
    if image.format not in _END_MARKERS and not cv2.haveImageReader(str(path)):
        return f'is in the format {image.format}, which OpenCV cannot load (save it as PNG)'
    if bits > 16:
        return f'has {bits} bits a channel, which OpenCV cannot load (rescale it to 8 bits)'
    return ''


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

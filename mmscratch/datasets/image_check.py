"""A cheap look at image files: is it an image, is it whole, which size has it once loaded."""

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

# What the file of a whole image ends with; cameras and editors may add bytes after it.
_END_MARKERS = {
    'JPEG': b'\xff\xd9',
    'MPO': b'\xff\xd9',
    'PNG': b'IEND\xae\x42\x60\x82',
}
_TAIL = 1024
_EXIF_ORIENTATION = 0x0112
_BAR_FROM = 2000  # Fewer files are done before a bar could be read.


@dataclass(frozen=True)
class ImageFacts:
    """What :func:`look_at` found; `width`, `height` are those of the image as OpenCV loads it.

    `fingerprint` (file size, CRC of the last KiB) is the same for copies of a file, and differs
    for other files since their pixels are compressed; None for formats other than JPEG and PNG.
    `fault` says what is wrong, '' if nothing is.
    """

    width: int = 0
    height: int = 0
    fingerprint: tuple[int, int] | None = None
    fault: str = ''


def look_at(path: Path) -> ImageFacts:
    """Read the header and the end of one file; no pixel is decoded (about 0.1 ms)."""
    try:
        with path.open('rb') as file, Image.open(file) as image:
            header_end = file.tell()
            width, height = image.size
            # MMDetection loads with OpenCV, which turns the image as its EXIF data say.
            if 'exif' in image.info and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
                width, height = height, width
            size = file.seek(0, os.SEEK_END)
            file.seek(max(header_end, size - _TAIL))
            tail = file.read()
            marker = _END_MARKERS.get(image.format)
            if marker and marker not in tail:
                file.seek(header_end)
                if marker not in file.read():
                    return ImageFacts(fault=f'is cut short ({size} bytes, no end marker)')
    except UnidentifiedImageError:
        return ImageFacts(fault=f'is not an image ({path.stat().st_size} bytes)')
    except (OSError, SyntaxError, ValueError) as error:
        return ImageFacts(fault=f'cannot be read ({error})')
    return ImageFacts(width, height, (size, zlib.crc32(tail)) if marker else None)


def look_at_all(paths: Sequence[Path], threads: int = 8) -> list[ImageFacts]:
    """The facts of each path, in order, with a progress bar for a large set on a terminal."""
    with _any_size(), ThreadPoolExecutor(threads) as pool:
        facts = pool.map(look_at, paths)
        quiet = True if len(paths) < _BAR_FROM else None
        return list(tqdm(facts, 'checking images', len(paths), disable=quiet, leave=False))


@contextmanager
def _any_size() -> Iterator[None]:
    """Pillow refuses to open images of 179 megapixels or more; their headers are harmless."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit

"""Groups images that look alike, such as neighbouring frames, crops of one scan, resaved copies."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from mmscratch.config import cpu_threads
from mmscratch.data.progress_bar import ProgressBar

_SIDE = 16  # of the thumbnails that are compared
_ALIKE = 0.95  # correlation of two thumbnails
_FLAT = 1 / 255  # deviation of thumbnails that show nothing
_ROWS = 1024  # compared at a time, to bound the memory


def near_duplicates(paths: Sequence[Path]) -> list[int]:
    """The group of each image, a number from 0; most groups have one image.

    Images belong together if their grey thumbnails of 16 x 16 pixels correlate by 0.95 or more, or
    if Roboflow made them from one image (``NAME.rf.HASH.jpg``). Of photographs of different
    scenes the most alike come to 0.8. If more than half of all images are alike, a camera did not
    move: then only what differs from the mean of all is compared.
    """
    with ThreadPoolExecutor(cpu_threads.cores()) as pool:
        bar = ProgressBar(pool.map(_thumbnail, paths), 'comparing images, once', len(paths))
        small = np.array(list(bar))
    names = [path.parent / path.name.partition('.rf.')[0] for path in paths]
    groups = _groups(_normalised(small), names)
    if 2 * max(Counter(groups).values()) > len(groups):
        groups = _groups(_normalised(small - small.mean(0)), names)
    return groups


def _groups(small: np.ndarray, names: Sequence[Path]) -> list[int]:
    """The group of each image by thumbnails, (images, pixels), or by the same name."""
    parent = list(range(len(small)))

    def top(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[Path, int] = {}
    for number, name in enumerate(names):
        parent[top(number)] = top(first.setdefault(name, number))
    for start in range(0, len(small), _ROWS):
        alike = small[start : start + _ROWS] @ small[: start + _ROWS].T >= _ALIKE
        for one, other in np.argwhere(alike):
            parent[top(start + int(one))] = top(int(other))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(top(number), len(numbers)) for number in range(len(small))]


def _thumbnail(path: Path) -> np.ndarray:
    """Grey values from 0 to 1, (pixels,); all 0 where Pillow cannot read the file."""
    try:
        with Image.open(path) as image:
            image.draft('L', (4 * _SIDE, 4 * _SIDE))
            grey = image.convert('F' if image.mode[0] in 'IF' else 'L')
            small = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    except (OSError, ValueError, SyntaxError):
        return np.zeros(_SIDE**2, np.float32)
    values = np.asarray(small, np.float32).ravel()
    return values / max(float(np.abs(values).max()), 1)


def _normalised(small: np.ndarray) -> np.ndarray:
    """Rows with mean 0 and norm 1; rows of 0 where all values are as good as equal."""
    small = small - small.mean(1, keepdims=True)
    norms = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(norms > _SIDE * _FLAT, small / np.maximum(norms, 1e-12), 0)

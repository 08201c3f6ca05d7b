"""Groups of images that are copies, or nearly."""

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmscratch.data.pixels import HASH_SIDE, Pixels, look_at_all
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar

NEAR = 40  # bits of 256
_ROWS = 256  # most that are compared with all others at once, which bounds the memory


def copies(images: Sequence[Pixels]) -> list[list[int]]:
    """Groups of two or more numbers of images whose files are the same."""
    groups = defaultdict(list)
    for number, pixels in enumerate(images):
        if pixels.digest:
            groups[pixels.digest].append(number)
    return [group for group in groups.values() if len(group) > 1]


def near_ones(images: Sequence[Pixels], near: int = NEAR) -> list[list[int]]:
    """Groups of two or more numbers of images that nearly equal another one of the group.

    Two images nearly equal each other if their perceptual hashes differ in at most ``near`` of 256
    bits. Of images with the same hash the first stands for all, so that the copies of a file cost
    no more than a look.
    """
    of_hash = defaultdict(list)
    for number, pixels in enumerate(images):
        if pixels.phash is not None:
            of_hash[pixels.phash].append(number)
    if not of_hash:
        return []
    hashes = np.frombuffer(b''.join(of_hash), np.uint8).reshape(len(of_hash), -1)
    # a product of -1 and 1 is 256 less twice the bits that differ; exact, and BLAS is fast
    signs = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
    least = HASH_SIDE**2 - 2 * near
    labels = np.arange(len(signs))
    # small blocks first: joined images make no pairs, as most of a camera that does not move
    starts = [*range(0, min(_ROWS, len(signs)), 16), *range(_ROWS, len(signs), _ROWS)]
    blocks = itertools.pairwise([*starts, len(signs)])
    for start, end in ProgressBar(blocks, 'comparing images', len(starts), leave=False, delay=1):
        is_near = signs[start:end] @ signs[start:].T >= least
        is_near &= labels[start:end, None] != labels[start:]
        row, other = np.nonzero(is_near)
        if row.size:
            edges = np.unique(np.stack([labels[start + row], labels[start + other]]), axis=1)
            graph = coo_array((np.ones(edges.shape[1], bool), edges), shape=(len(signs),) * 2)
            labels = connected_components(graph, directed=False)[1][labels]
    groups: dict[int, list[int]] = defaultdict(list)
    for label, numbers in zip(labels.tolist(), of_hash.values()):
        groups[label] += numbers
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _remembered_looks(paths: Sequence[Path], memory: Path) -> list[Pixels]:
    """Digests and hashes of images, by path, size and time of change."""
    try:
        known = {
            key: Pixels(digest=bytes.fromhex(digest), phash=phash and bytes.fromhex(phash))
            for key, (digest, phash) in json.loads(memory.read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        known = {}
    keys = {path: _key(path) for path in paths}
    new = [path for path, key in keys.items() if key not in known]
    known.update((keys[path], pixels) for path, pixels in zip(new, look_at_all(new)))
    looks = {key: known[key] for key in keys.values()}
    if new:
        rows = {key: (x.digest.hex(), x.phash and x.phash.hex()) for key, x in looks.items()}
        whole_file.write(memory, json.dumps(rows).encode())
    return [looks[keys[path]] for path in paths]


def _key(path: Path) -> str:
    if not path.is_file():
        return str(path)
    status = path.stat()
    return f'{path} {status.st_size} {status.st_mtime_ns}'


def without_still(groups: list[list[int]], total: int) -> tuple[list[list[int]], list[int]]:
    """Take the group of more than half of all images out, as of a camera that does not move."""
    still = next((group for group in groups if 2 * len(group) > total), [])
    return [group for group in groups if group is not still], still


def alike(paths: Sequence[Path], memory: Path) -> tuple[list[int], int]:
    """The group of each image, a number from 0; most groups have one image.

    Together are what ``tools/data/check.py`` calls copies and near duplicates, and what Roboflow
    made of one image (``NAME.rf.HASH.jpg``). Near ones that are more than half of all cannot be
    divided, and are not together; their number is returned, too. What images look like is kept in
    the file `memory`, so that only those that changed are decoded again.
    """
    looks = _remembered_looks(paths, memory)
    of_name: dict[Path, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        of_name[path.parent / path.name.partition('.rf.')[0]].append(number)
    near, still = without_still(near_ones(looks), len(paths))
    groups = [*of_name.values(), *copies(looks), *near]
    pairs = np.array([(group[0], number) for group in groups for number in group]).T
    graph = coo_array((np.ones(pairs.shape[1]), pairs), shape=(len(paths),) * 2)
    return connected_components(graph, directed=False)[1].tolist(), len(still)

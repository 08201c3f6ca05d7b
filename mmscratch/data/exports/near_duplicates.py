"""Groups images that belong on one side of a split."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmscratch.data.folder_check import duplicates, pixels


def alike(paths: Sequence[Path]) -> list[int]:
    """The group of each image, a number from 0; most groups have one image.

    Together are what ``tools/data/check.py`` calls copies and near duplicates, and what Roboflow
    made of one image (``NAME.rf.HASH.jpg``). Near ones do not count if they are more than half of
    all, as where a camera did not move.
    """
    looks = pixels.look_at_all(paths)
    of_name: dict[Path, list[int]] = defaultdict(list)
    for number, path in enumerate(paths):
        of_name[path.parent / path.name.partition('.rf.')[0]].append(number)
    near = duplicates.near_ones(looks)
    if 2 * max(map(len, near), default=0) > len(paths):
        near = []
    groups = [*of_name.values(), *duplicates.copies(looks), *near]
    pairs = np.array([(group[0], number) for group in groups for number in group]).T
    graph = coo_array((np.ones(pairs.shape[1]), pairs), shape=(len(paths),) * 2)
    return connected_components(graph, directed=False)[1].tolist()

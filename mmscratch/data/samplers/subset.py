"""Choose the images of a run: k of n by a seed, or a list of image ids.

The choice sorts the image ids by the SHA-256 of ``'<seed>:<id>'`` and keeps the first k. SHA-256
never changes, so a seed names the same images on every machine and with every version of torch and
numpy. The order of two ids depends on no other id. So the order of the annotation file does not
matter, and a smaller subset is part of a larger one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmdet.datasets import MultiImageMixDataset

from mmscratch.errors import InputError
from mmscratch.process import regular_file

ImageId = int | str


@dataclass(frozen=True)
class Subset:
    """The images of a data set that a run uses.

    Attributes:
        indices: positions in the data set, ascending.
        ids: the image ids in the same order; None if all images take part.
        seed: the seed that chose them; None if no seed did.
    """

    indices: np.ndarray
    ids: list[ImageId] | None = None
    seed: int | None = None

    @property
    def sha256(self) -> str | None:
        """Checksum of ``ids``, None if all images take part."""
        return None if self.ids is None else sha256_of_ids(self.ids)


def choose_ids(ids: Iterable[ImageId], k: int, seed: int) -> list[ImageId]:
    """Draw ``k`` ids without replacement; a draw of k - 1 gives the first k - 1 of them."""
    return sorted(ids, key=lambda i: hashlib.sha256(f'{seed}:{i}'.encode()).digest())[:k]


def sha256_of_ids(ids: Iterable[ImageId]) -> str:
    r"""Return the SHA-256 of a set of ids: sorted as text, a ``\n`` after each, in UTF-8.

    ``LC_ALL=C sort FILE | sha256sum`` prints the same for a file with one id a line.
    """
    lines = sorted(str(i) for i in ids)
    return hashlib.sha256(''.join(f'{line}\n' for line in lines).encode()).hexdigest()


def record_of(ids: Sequence[ImageId]) -> dict[str, Any]:
    """What a ``subset.json`` says of its images; :func:`read_ids` reads it."""
    return dict(k=len(ids), sha256=sha256_of_ids(ids), ids=list(ids))


def read_ids(file: str) -> list[ImageId]:
    """Read image ids from a JSON list, a ``subset.json`` of a run, or a text with one id a line.

    Raises:
        InputError: the file cannot be read; it contains no id, an id twice, or something that is no
            id; or the ids do not have its checksum.
    """
    try:
        text = regular_file.read_bytes(file).decode()
        lines = map(str.strip, text.splitlines())
        content = json.loads(text) if file.endswith('.json') else [*filter(None, lines)]
        json.dumps(content, ensure_ascii=False).encode()  # fails on halves of characters
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f'{file}: cannot be read ({getattr(error, "strerror", None) or error}): give subset a '
            'number of images or a file of image ids, as tools/data/subset.py writes it'
        ) from error
    ids = content.get('ids') if isinstance(content, dict) else content
    if not isinstance(ids, list) or not ids:
        raise InputError(f'{file}: holds no image id: give a list of at least one')
    for i in ids:
        if isinstance(i, bool) or not isinstance(i, int | str):
            raise InputError(f'{file}: {i!r} is not an image id: give whole numbers or strings')
    twice = [i for i, times in Counter(map(str, ids)).items() if times > 1]
    if twice:
        raise InputError(f'{file}: id {twice[0]} occurs twice: remove all but one')
    stated = content.get('sha256') if isinstance(content, dict) else None
    if stated not in (None, sha256_of_ids(ids)):
        raise InputError(f'{file}: the ids do not have its sha256: restore the file')
    return ids


def select_subset(dataset: Any, subset: int | str | None, subset_seed: int) -> Subset:
    """Select a number of images, the images of a file of ids, or all (None).

    The selection is from the images that the data set's own filter (``filter_cfg``) keeps. The data
    set needs ``get_data_info(index)['img_id']`` unless ``subset`` is None.

    Raises:
        InputError: the data set is empty, has an id twice or mixes images, or ``subset`` is
            impossible.
    """
    source = getattr(dataset, 'ann_file', None) or type(dataset).__name__
    if len(dataset) == 0:
        raise InputError(f'{source}: no image is left after its filter: relax filter_cfg')
    if subset is None:
        return Subset(np.arange(len(dataset)))
    if isinstance(dataset, MultiImageMixDataset):
        raise InputError(
            f'subset={subset}: MultiImageMixDataset (Copy-Paste, Mosaic) mixes images of the whole '
            'data set into those of a subset: leave out subset, or take a config without it'
        )
    all_ids = [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]
    # compared as text, since a text file does not distinguish the id 5 from the id '5'
    index_of = {str(i): index for index, i in enumerate(all_ids)}
    if len(index_of) < len(all_ids):
        twice = Counter(map(str, all_ids)).most_common(1)[0][0]
        raise InputError(f'{source}: image id {twice} occurs twice: give each image its own id')
    seed = None if isinstance(subset, str) else subset_seed
    if isinstance(subset, str):
        chosen = read_ids(subset)
        unknown = [i for i in chosen if str(i) not in index_of]
        if unknown:
            raise InputError(
                f'{subset}: {len(unknown)} of {len(chosen)} ids, first {unknown[0]}, are not in '
                f'{source} after its filter: remove them, or relax filter_cfg'
            )
    elif isinstance(subset, bool) or not isinstance(subset, int):
        raise InputError(f'subset={subset!r}: give a number of images or a file of image ids')
    elif not 0 < subset <= len(all_ids):
        raise InputError(
            f'{source}: subset={subset}, but {len(all_ids)} images are left after its filter: '
            f'give 1 to {len(all_ids)}'
        )
    else:
        chosen = choose_ids(all_ids, subset, subset_seed)
    indices = sorted(index_of[str(i)] for i in chosen)
    return Subset(np.array(indices), [all_ids[index] for index in indices], seed)

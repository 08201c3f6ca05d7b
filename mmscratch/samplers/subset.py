"""Which images a run sees: k of n by a seed, or a list of image ids.

The choice ranks the image ids by the SHA-256 of ``'<seed>:<id>'`` and keeps the first k. SHA-256
never changes, so that a seed names the same images for ever, on every machine and with every
version of torch and numpy; the ranking of two ids does not depend on the other ids, so that the
order of the annotation file does not matter and smaller subsets lie within larger ones.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmscratch.errors import InputError

ImageId = int | str


@dataclass(frozen=True)
class Subset:
    """The images of a data set that take part in training.

    ``indices`` are their positions in the data set, ascending. ``ids`` are their image ids in the
    same order, None if all images take part. ``seed`` is None if no seed chose them.
    """

    indices: np.ndarray
    ids: list[ImageId] | None = None
    seed: int | None = None

    @property
    def sha256(self) -> str | None:
        """Checksum of ``ids``, None if all images take part."""
        return None if self.ids is None else sha256_of_ids(self.ids)


def choose_ids(ids: Iterable[ImageId], k: int, seed: int) -> list[ImageId]:
    """Draw ``k`` of ``ids`` without replacement; the draw of k - 1 is its beginning."""
    return sorted(ids, key=lambda i: hashlib.sha256(f'{seed}:{i}'.encode()).digest())[:k]


def sha256_of_ids(ids: Iterable[ImageId]) -> str:
    r"""SHA-256 of a set of ids: as text, sorted as text, a ``\n`` after each, in UTF-8.

    For a file with one id a line, ``LC_ALL=C sort FILE | sha256sum`` prints the same.
    """
    lines = sorted(str(i) for i in ids)
    return hashlib.sha256(''.join(f'{line}\n' for line in lines).encode()).hexdigest()


def read_ids(file: str) -> list[ImageId]:
    """Read image ids: from a JSON list, a written ``subset.json``, or text with one id a line.

    Raises :class:`InputError` if the file cannot be read, holds no id, an id twice, something that
    is no id, or a checksum that its ids do not have.
    """
    try:
        text = Path(file).read_text(encoding='utf-8')
        content = json.loads(text) if file.endswith('.json') else _lines(text)
    except OSError as error:
        raise InputError(
            f'{file}: cannot be read ({error.strerror}): subset takes a number of images or a file '
            'of image ids, which tools/data/subset.py writes'
        ) from error
    except ValueError as error:
        raise InputError(f'{file}: broken JSON or text ({error}): write the ids again') from error
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


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def select_subset(dataset: Any, subset: int | str | None, subset_seed: int) -> Subset:
    """Find the images of ``dataset`` that ``subset`` means: a number, a file of ids, or None (all).

    The subset is taken from what the data set holds after its own filter (``filter_cfg``). The
    data set needs ``get_data_info(index)['img_id']`` unless ``subset`` is None.
    """
    source = getattr(dataset, 'ann_file', None) or type(dataset).__name__
    if len(dataset) == 0:
        raise InputError(f'{source}: no image is left after its filter: relax filter_cfg')
    if subset is None:
        return Subset(np.arange(len(dataset)))
    all_ids = [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]
    # As text: a text file cannot tell the id 5 from the id '5'.
    index_of = {str(i): index for index, i in enumerate(all_ids)}
    if len(index_of) < len(all_ids):
        twice = Counter(map(str, all_ids)).most_common(1)[0][0]
        raise InputError(f'{source}: image id {twice} occurs twice: give each image its own id')
    if isinstance(subset, str):
        return _subset_at(_indices(index_of, read_ids(subset), subset, source), all_ids, None)
    if isinstance(subset, bool) or not isinstance(subset, int):
        raise InputError(f'subset={subset!r}: give a number of images or a file of image ids')
    if not 0 < subset <= len(all_ids):
        raise InputError(
            f'{source}: subset={subset}, but {len(all_ids)} images are left after its filter: '
            f'give 1 to {len(all_ids)}'
        )
    chosen = choose_ids(all_ids, subset, subset_seed)
    return _subset_at([index_of[str(i)] for i in chosen], all_ids, subset_seed)


def _indices(index_of: dict[str, int], ids: list[ImageId], file: str, source: str) -> list[int]:
    unknown = [i for i in ids if str(i) not in index_of]
    if unknown:
        raise InputError(
            f'{file}: {len(unknown)} of {len(ids)} ids, first {unknown[0]}, are not in {source} '
            'after its filter: remove them, or relax filter_cfg'
        )
    return [index_of[str(i)] for i in ids]


def _subset_at(indices: list[int], all_ids: Sequence[ImageId], seed: int | None) -> Subset:
    ordered = np.sort(np.asarray(indices, dtype=np.int64))
    return Subset(ordered, [all_ids[index] for index in ordered], seed)

"""Keeps a folder of any export as two COCO JSON files; images stay where they are.

The files are in ``.mmscratch`` in the folder, or, if that cannot be written, in the user's cache
folder (``$XDG_CACHE_HOME/mmscratch``, else ``~/.cache/mmscratch``). They are written anew when
labels, images or this code change.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from mmengine.logging import print_log

from mmscratch.data.coco_check import RECORD
from mmscratch.data.duplicates import alike
from mmscratch.data.exports import coco_export, cvat_xml, labelme, yolo
from mmscratch.data.exports.division import SEED, SHARE, divide
from mmscratch.data.exports.export import Content, Export
from mmscratch.errors import InputError
from mmscratch.process import whole_file

# The first that recognises a folder counts.
_EXPORTS = (coco_export, cvat_xml, yolo, labelme)
_FOLDER = '.mmscratch'
_SPLIT = 'split.json'
_VERSION = 3  # of what is written; a change makes every cache stale
_LOOKS = f'looks_{_VERSION}.json'


def recognise(root: Path) -> Export | None:
    """The export that a folder is, None if it is of none of the layouts."""
    found = (module.recognise(root) for module in _EXPORTS)
    return next(filter(None, found), None) if root.is_dir() else None


@dataclass(frozen=True)
class Source:
    """Where a kept file came from.

    Attributes:
        layout: of the folder.
        root: the folder.
        files: the source of each split, from the root.
        sha256: of all files of labels, one after the other.
        notes: sentences for the log.
        state: names, sizes and times of change of all files that were read.
        kept: the SHA-256 of each file that was written.
        faults: split and text of what was left out of faulty labels.
        is_refused: whether nothing can be trained on this; it is read anew then.
    """

    layout: str
    root: str
    files: dict[str, str]
    sha256: str
    notes: list[str]
    state: str
    kept: dict[str, str]
    faults: list[list[str]] = field(default_factory=list)
    is_refused: bool = False

    def lines(self, file: Path) -> list[str]:
        """What the log says of a kept file; what holds for both splits is told for training."""
        made = f'{file}: made from {self.name(file)} ({self.layout}; SHA-256 of all labels: '
        return [f'{made}{self.sha256})', *(self.notes if file.stem.endswith('_train') else [])]

    def name(self, file: Path) -> str:
        """The source of a kept file."""
        root = file.parent.parent if file.parent.name == _FOLDER else self.root
        return str(Path(root, self.files[file.stem.removeprefix('instances_')]))


def source_of(file: str | os.PathLike) -> Source | None:
    """The source of a file, None if it was not kept by this module."""
    file = Path(file)
    found = _record(file.parent)
    return found if found and file.name in found.kept else None


def name_sources(text: str, files: Iterable[Path]) -> str:
    """A message about kept files that tells what they were made from, and what to correct."""
    for file in dict.fromkeys(files):
        if found := source_of(file):
            text = text.replace(str(file), f'{found.name(file)} (kept as {file})')
    return text


def keep(export: Export, faulty: bool = False) -> dict[str, dict[str, Any]]:
    """Write the COCO files of a folder, unless they are there, and say where they are.

    Several processes may do so at once.

    Args:
        export: the folder.
        faulty: whether to keep what is sound of a folder that cannot be trained on.

    Returns:
        What the data sets of 'train' and of 'val' read: data_root, ann_file, data_prefix.

    Raises:
        InputError: labels or images are at fault, or no folder can be written.
    """
    state = _state(export)
    folders = list(_folders(export.root))
    folder = next((folder for folder in folders if _is_fresh(folder, state)), None)
    contents: dict[str, Content] = {}
    failure: OSError | None = None
    for place in [] if folder else folders:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with FileLock(place / '.lock'):
                # another process may have been first
                if not _is_fresh(place, state):
                    contents = contents or _read(export, place)
                    if export.refusal and not faulty:
                        raise InputError(export.refusal)
                    _write(place, export, contents, state)
        except OSError as error:
            failure = error
            continue
        folder = place
        break
    if folder is None:
        raise InputError(
            f'{export.root / _FOLDER}: cannot be written ({failure and failure.strerror}), nor can '
            f'{folders[-1]}; name a folder for it by the environment variable XDG_CACHE_HOME'
        )
    below = folder.relative_to(export.root) if folder.is_relative_to(export.root) else folder
    return {
        split: dict(
            data_root=str(export.root),
            ann_file=str(below / f'instances_{split}.json'),
            data_prefix=dict(img=''),
        )
        for split in ('train', 'val')
    }


def _folders(root: Path) -> Iterator[Path]:
    yield root / _FOLDER
    # a container's user may have no home
    with contextlib.suppress(RuntimeError):
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        yield cache.absolute() / 'mmscratch/layouts' / f'{root.resolve().name}-{name}'


def _state(export: Export) -> str:
    """A checksum of names, sizes and times of change; the content is not read."""
    digest = hashlib.sha256(f'{_VERSION} {export.layout} {SEED} {SHARE}'.encode())
    with os.scandir(export.root) as entries:
        below = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    digest.update(os.fsencode('/'.join(below)))
    for path in [*export.labels, *export.images]:
        status = path.stat()
        known = f'{export.relative(path)}\0{status.st_size}\0{status.st_mtime_ns}\n'
        digest.update(os.fsencode(known))
    return digest.hexdigest()


def _record(folder: Path) -> Source | None:
    try:
        return Source(**json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _is_fresh(folder: Path, state: str) -> bool:
    """Whether a folder has files of this state, as they were written."""
    found = _record(folder)
    if found is None or found.state != state or found.is_refused:
        return False
    try:
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
            for name, sha256 in found.kept.items()
        )
    except OSError:
        return False


def _sides(file: Path) -> dict[str, bool]:
    """Whether images are to validate on, by name, as a file ``_SPLIT`` says."""
    try:
        found = json.loads(file.read_bytes())
        return {name: split == 'val' for split in ('train', 'val') for name in found[split]}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _read(export: Export, place: Path) -> dict[str, Content]:
    """The content of 'train' and of 'val', and of ``_SPLIT`` if the folder has no split.

    Images keep the side that the ``_SPLIT`` of the folder `place` names, so that numbers can be
    compared, and a detector is not tested on what it was trained on.
    """
    contents = export.read()
    for content in contents.values():
        # whatever the order of the layout, so that a seed does the same
        content['images'] = sorted(content['images'], key=lambda row: str(row.get('file_name')))
    if 'all' not in contents:
        return contents
    rows = contents['all']['images']
    images = [export.root / str(row.get('file_name')) for row in rows]
    groups, still = alike(images, place / _LOOKS)
    if len({*groups}) < 2:
        raise InputError(
            f'{export.sources["all"]}: its {len(rows)} images are too few or too much alike to be '
            'divided for training and validation; give other images, or both splits'
        )
    export.sources = dict.fromkeys(('train', 'val'), export.sources['all'])
    sides = _sides(place / _SPLIT)
    divided = divide(contents['all'], groups, sides)
    if not all(content['annotations'] for content in divided.values()):
        sides = {}
        divided = divide(contents['all'], groups, sides)
    sizes = {split: len(content['images']) for split, content in divided.items()}
    others = len(groups) - len({*groups})
    export.notes.append(
        f'{export.root} has no split: divided by seed {SEED} into {sizes["train"]} images to train '
        f'on and {sizes["val"]} to validate on, with equal shares of each class; {others} copies '
        f'and near-duplicates are in the same split as their twin; {_SPLIT} has the names'
    )
    if sides:
        old = sum(str(row.get('file_name')) in sides for row in rows)
        export.notes.append(
            f'{old} images are in the split that {_SPLIT} names, {len(rows) - old} new ones were '
            'dealt; remove it to divide all anew'
        )
    if still:
        export.notes.append(
            f'WARNING: {still} of {len(rows)} images nearly equal each other (static camera?), and '
            'are in both splits: the AP will be flattered; give both splits'
        )
    names = {
        split: [row.get('file_name') for row in content['images']]
        for split, content in divided.items()
    }
    return divided | {_SPLIT: dict(seed=SEED, share=SHARE, **names)}


def _write(folder: Path, export: Export, contents: dict[str, Content], state: str) -> None:
    digest = hashlib.sha256()
    for path in export.labels:
        digest.update(path.read_bytes())
    texts = {
        name if name == _SPLIT else f'instances_{name}.json': _json(content)
        for name, content in contents.items()
    }
    source = Source(
        layout=export.layout,
        root=str(export.root.resolve()),
        files={split: export.relative(path) for split, path in export.sources.items()},
        sha256=digest.hexdigest(),
        notes=export.notes,
        state=state,
        faults=[list(fault) for fault in export.faults],
        is_refused=bool(export.refusal),
        kept={name: hashlib.sha256(text).hexdigest() for name, text in texts.items()},
    )
    texts[RECORD] = _json(asdict(source))
    if _SPLIT not in texts:
        (folder / _SPLIT).unlink(missing_ok=True)
    # the record last: without it the others do not count
    for name, text in texts.items():
        whole_file.write(folder / name, text)
    print_log(
        f'{export.root}: in the layout {export.layout}; its labels are kept as COCO in {folder}',
        logger='current',
        level=logging.INFO,
    )


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()

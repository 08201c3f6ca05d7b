"""Decodes every image once before the first training on it.

A file may have a sound header and end and still not decode. Training would meet it in a worker,
hours later.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdet.registry import TRANSFORMS

from mmscratch.config.sections import type_name
from mmscratch.data.image_check import ImageFacts, look_at, look_at_all
from mmscratch.errors import InputError, describe
from mmscratch.process import cpu_threads, whole_file
from mmscratch.process.progress_bar import ProgressBar


def check_images(
    folder: Path, paths: Sequence[Path], pipeline: Sequence[Mapping[str, Any]], decode: bool = True
) -> list[ImageFacts]:
    """Look at each image, and decode all if none has a fault; return their facts, in order.

    The arguments are those of :func:`decode_all`. Without ``decode`` only files are looked at. Of a
    format without fingerprint the facts have the file's place on the disk.
    """
    facts = [
        fact if fact.fault or fact.fingerprint else replace(fact, place=_place(path))
        for fact, path in zip(look_at_all(paths), paths)
    ]
    if not any(step.get('channels') for step in pipeline if _loads(step)):
        facts = [replace(fact, fault=fact.fault or fact.not_for_opencv) for fact in facts]
    else:  # all bits are loaded
        facts = [replace(fact, bits=8) for fact in facts]
    if not decode or any(fact.fault for fact in facts):
        return facts
    faults = decode_all(folder, paths, pipeline)
    return [replace(fact, fault=fault) for fact, fault in zip(facts, faults)]


def _place(path: Path) -> tuple[int, int]:
    """Equal for links to a file alone."""
    status = path.stat()
    return status.st_dev, status.st_ino


def decode_all(
    folder: Path, paths: Sequence[Path], pipeline: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Decode images as a pipeline's ``LoadImageFromFile`` will; return their faults, '' for none.

    The user's cache folder (``$XDG_CACHE_HOME/mmscratch``, else ``~/.cache/mmscratch``) keeps size
    and time of change of decoded files, which are not decoded again. Without that step in the
    pipeline nothing is decoded.

    Args:
        folder: that of the images; its path names the file in the cache folder.
        paths: image files below it.
        pipeline: of the data set.
    """
    step = next(filter(_loads, pipeline), None)
    if step is None:
        return [''] * len(paths)
    load = TRANSFORMS.build(dict(step))
    memory = _memory(folder, step)
    known = _remembered(memory)
    stats = {str(path): path.stat() for path in paths}
    states = {path: [status.st_size, status.st_mtime_ns] for path, status in stats.items()}
    new = [path for path, state in states.items() if known.get(path) != state]
    faults: dict[str, str] = {}

    def fault_of(path: str) -> str:
        try:
            height, width = load.transform(dict(img_path=path))['img_shape']
        except InputError as error:
            return str(error).removeprefix(f'{path}: ')
        except AssertionError:  # mmcv's, which says no more
            return 'cannot be decoded'
        except Exception as error:
            return f'cannot be decoded ({describe(error)})'
        facts = look_at(Path(path))
        if (width, height) != (facts.width, facts.height):
            # of some formats OpenCV does not know the orientation, and boxes would lie wrong
            return (
                f'has {width} x {height} pixels when loaded, and {facts.width} x {facts.height} by '
                'its header (EXIF rotation included); write it again'
            )
        return ''

    try:
        # OpenCV decodes without Python's lock
        with ThreadPoolExecutor(cpu_threads.cores()) as pool:
            done = pool.map(fault_of, new)
            bar = ProgressBar(done, 'decoding images, once', len(new), leave=False, delay=1)
            faults.update(zip(new, bar))
    finally:
        # also what was done before an interruption
        sound = {path: states[path] for path, fault in faults.items() if not fault}
        if sound:
            _remember(memory, {**known, **sound})
    return [faults.get(str(path), '') for path in paths]


def _loads(step: Mapping[str, Any]) -> bool:
    return type_name(step) == 'LoadImageFromFile'


def _memory(folder: Path, step: Mapping[str, Any]) -> Path:
    """The file that remembers the images of a folder, decoded in one way."""
    try:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    except RuntimeError:
        # a container's user may have no home: nothing is remembered
        cache = Path(os.devnull)
    key = json.dumps([str(folder.resolve()), sorted(step.items())], default=str)
    return cache / 'mmscratch/decoded' / f'{hashlib.sha256(key.encode()).hexdigest()[:16]}.json'


def _remembered(memory: Path) -> dict[str, list[int]]:
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, known: dict[str, list[int]]) -> None:
    # a read-only or full home costs the time to decode again, and nothing else
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        whole_file.write(memory, json.dumps(known), flush=False)

"""Writes a drawn data set in COCO's layout, so that it can be interrupted at any time."""

import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmscratch.data.progress_bar import ProgressBar
from mmscratch.errors import InputError

CHUNK = 50  # images whose annotations are kept together until the data set is whole


@dataclasses.dataclass(frozen=True)
class ResumableCocoWriter:
    """Fills ``root`` with images drawn one by one, and with their annotations.

    Every file appears whole or not at all. Until a split is whole, ``root/.parts`` keeps the
    annotations of finished chunks; run again, the writer draws the images that are not there.
    ``root/recipe.json`` says what was drawn, and keeps another data set from being mixed in.

    Args:
        root: The data set's folder.
        recipe: What determines the images, ready for JSON.
        categories: COCO's list.
        size: (width, height) of all images.
        draw: Called with split, number from 1, and whether the picture is wanted; returns the
            picture, (H, W, 3) uint8 in OpenCV's channel order, and its annotations without ``id``
            and ``image_id``. Must be picklable.
    """

    root: Path
    recipe: dict[str, Any]
    categories: list[dict[str, Any]]
    size: tuple[int, int]
    draw: Callable[[str, int, bool], tuple[np.ndarray | None, list[dict]]]

    def write(
        self, splits: dict[str, int], workers: int = 1, progress: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Make the data set, or what is missing of it.

        Args:
            splits: Number of images by split.
            workers: Processes.
            progress: Show a bar on stderr.

        Returns:
            By split: ``images``, ``instances``, ``classes`` (instances by name), ``sizes``
            (instances by COCO's ``small``, ``medium``, ``large``).

        Raises:
            InputError: The folder holds something else or can't be written, or a number is wrong.
        """
        _check_numbers(splits, workers)
        try:
            counts = self._open(splits)
            todo = {s: n for s, n in splits.items() if not self._is_whole(s, n, counts)}
            if todo:
                self._draw_all(todo, workers, progress)
                for split, count in todo.items():
                    counts[split] = self._merge(split, count)
                    self._save_recipe(splits, counts)
            elif progress:
                print(f'{self.root} is complete, nothing to draw', file=sys.stderr)
            shutil.rmtree(self.root / '.parts', ignore_errors=True)
        except OSError as error:
            where = error.filename or self.root
            raise InputError(
                f'{where}: {error.strerror}; put that right, or give another folder'
            ) from error
        return counts

    def _open(self, splits: dict[str, int]) -> dict[str, Any]:
        """Read the counts of finished splits; refuse a folder of something else."""
        path = self.root / 'recipe.json'
        cure = 'give another folder, or delete this one'
        if not path.exists():
            if self.root.is_dir() and any(p.name != '.parts' for p in self.root.iterdir()):
                raise InputError(f'{self.root} is not empty and has no recipe.json: {cure}')
            self._save_recipe(splits, {})
            return {}
        try:
            found = json.loads(path.read_bytes())
            counts = dict(found.pop('counts'))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f'{path} is not the recipe of a drawn data set: {cure}') from None
        for key, value in {**self.recipe, 'splits': splits}.items():
            if found.get(key) != value:
                raise InputError(
                    f'{self.root} holds a data set with {key}={found.get(key)}, not {value}: {cure}'
                )
        return counts

    def _save_recipe(self, splits: dict[str, int], counts: dict[str, Any]) -> None:
        recipe = {**self.recipe, 'splits': splits, 'counts': counts}
        self._save(self.root / 'recipe.json', [json.dumps(recipe, indent=2).encode(), b'\n'])

    def _is_whole(self, split: str, count: int, counts: dict[str, Any]) -> bool:
        folder = self.root / split
        if split not in counts or not self._json_path(split).exists() or not folder.is_dir():
            return False
        there = set(os.listdir(folder))
        return all(_image_name(number) in there for number in range(1, count + 1))

    def _json_path(self, split: str) -> Path:
        return self.root / 'annotations' / f'instances_{split}.json'

    def _part_path(self, split: str, first: int) -> Path:
        return self.root / '.parts' / f'{split}_{first:09d}.json'

    def _save(self, path: Path, chunks: Iterable[bytes]) -> None:
        """Write a file in one go: it is there whole, or not at all."""
        draft = self.root / '.parts' / f'{path.name}.{os.getpid()}'
        draft.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open('wb') as file:
            file.writelines(chunks)
        os.replace(draft, path)

    def _draw_all(self, splits: dict[str, int], workers: int, progress: bool) -> None:
        chunks = [
            (split, first, min(first + CHUNK, count + 1))
            for split, count in splits.items()
            for first in range(1, count + 1, CHUNK)
        ]
        with ProgressBar(total=sum(splits.values()), desc='images', disable=not progress) as bar:
            for done in _run(self._draw_chunk, chunks, workers):
                bar.update(done)

    def _draw_chunk(self, split: str, first: int, stop: int) -> int:
        numbers = range(first, stop)
        part = self._part_path(split, first)
        missing = [n for n in numbers if not (self.root / split / _image_name(n)).exists()]
        if missing or not part.exists():
            annotations = [self._draw_one(split, n, n in missing) for n in numbers]
            self._save(part, [_dump(annotations)])
        return len(numbers)

    def _draw_one(self, split: str, number: int, missing: bool) -> list[dict]:
        picture, annotations = self.draw(split, number, missing)
        if picture is not None:
            encoded = cv2.imencode('.png', picture)[1].tobytes()
            self._save(self.root / split / _image_name(number), [encoded])
        return annotations

    def _merge(self, split: str, count: int) -> dict[str, Any]:
        """Join a split's parts to its JSON, and count."""
        names = {category['id']: category['name'] for category in self.categories}
        classes = Counter(dict.fromkeys(names.values(), 0))
        sizes = Counter({'small': 0, 'medium': 0, 'large': 0})

        def counted() -> Iterator[dict]:
            for annotation in self._annotations(split, count):
                classes[names[annotation['category_id']]] += 1
                sizes[_size_name(annotation['area'])] += 1
                yield annotation

        self._save(self._json_path(split), self._json(split, count, counted()))
        return {
            'images': count,
            'instances': classes.total(),
            'classes': dict(classes),
            'sizes': dict(sizes),
        }

    def _annotations(self, split: str, count: int) -> Iterator[dict]:
        """Read a split's annotations, one part in memory at a time, and number them."""
        number = 0
        for first in range(1, count + 1, CHUNK):
            part = json.loads(self._part_path(split, first).read_bytes())
            for image_id, annotations in enumerate(part, first):
                for annotation in annotations:
                    number += 1
                    yield {'id': number, 'image_id': image_id, **annotation}

    def _json(self, split: str, count: int, annotations: Iterable[dict]) -> Iterator[bytes]:
        width, height = self.size
        images = (
            {'id': number, 'file_name': _image_name(number), 'width': width, 'height': height}
            for number in range(1, count + 1)
        )
        yield b'{"info":' + _dump({**self.recipe, 'split': split, 'images': count})
        yield b',\n"licenses":[],\n"categories":' + _dump(self.categories) + b',\n"images":['
        yield from _separated(images)
        yield b'],\n"annotations":['
        yield from _separated(annotations)
        yield b']}\n'


def _check_numbers(splits: dict[str, int], workers: int) -> None:
    if not splits:
        raise InputError('no images asked for: give at least one split at least one image')
    for split, count in splits.items():
        if not re.fullmatch(r'[a-z0-9_]+', split) or split == 'annotations':
            raise InputError(f'split {split!r}: use lower-case letters, digits and _')
        if not 1 <= count < 10**9:
            raise InputError(f'{split}={count}: give at least 1 image')
    if workers < 1:
        raise InputError(f'workers={workers}: give at least 1 process')


def _run(make: Callable[..., int], chunks: list[tuple], workers: int) -> Iterator[int]:
    workers = min(workers, len(chunks))
    if workers == 1:
        yield from (make(*chunk) for chunk in chunks)
        return
    # "spawn" behaves alike on all systems, and is safe in a process that has threads.
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, spawn, initializer=_follow_parent) as pool:
        try:
            for future in as_completed([pool.submit(make, *chunk) for chunk in chunks]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _image_name(number: int) -> str:
    return f'{number:012d}.png'


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(',', ':')).encode()


def _separated(values: Iterable[dict]) -> Iterator[bytes]:
    for position, value in enumerate(values):
        yield (b',\n' if position else b'\n') + _dump(value)


def _size_name(area: int) -> str:
    """Name COCO's size range of a mask area in pixels."""
    return 'small' if area < 32**2 else 'medium' if area < 96**2 else 'large'

"""Writes a drawn data set in COCO's layout, so that it can be interrupted at any time."""

import dataclasses
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar


@dataclasses.dataclass(frozen=True)
class ResumableCocoWriter:
    """Fills ``root`` with images drawn one by one, and with their annotations.

    Every file appears whole or not at all. If a file is missing, the writer draws the missing
    images, and draws all annotations again, which takes less time than the images.
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

    def write(self, splits: dict[str, int], workers: int = 1, progress: bool = True) -> None:
        """Make the data set, or what is missing of it.

        Args:
            splits: Number of images by split.
            workers: Processes.
            progress: Show a bar on stderr.

        Raises:
            InputError: The folder holds something else or can't be written, or a number is wrong.
        """
        _check_numbers(splits, workers)
        try:
            self._claim(splits)
            if not all(self._is_whole(split, count) for split, count in splits.items()):
                self._draw_all(splits, workers, progress)
            elif progress:
                print(f'{self.root} is complete, nothing to draw', file=sys.stderr)
        except OSError as error:
            where = error.filename or self.root
            raise InputError(
                f'{where}: {error.strerror}; put that right, or give another folder'
            ) from error

    def _claim(self, splits: dict[str, int]) -> None:
        """Write the recipe; refuse a folder of something else."""
        path = self.root / 'recipe.json'
        recipe = {**self.recipe, 'splits': splits}
        cure = 'give another folder, or delete this one'
        if not path.exists():
            if self.root.is_dir() and any(self.root.iterdir()):
                raise InputError(f'{self.root} is not empty and has no recipe.json: {cure}')
            _save(path, json.dumps(recipe, indent=2).encode() + b'\n')
            return
        try:
            found = json.loads(path.read_bytes())
            found['splits']
        except (ValueError, KeyError, TypeError):
            raise InputError(f'{path} is not the recipe of a drawn data set: {cure}') from None
        for key, value in recipe.items():
            if found.get(key) != value:
                raise InputError(
                    f'{self.root} holds a data set with {key}={found.get(key)}, not {value}: {cure}'
                )

    def _is_whole(self, split: str, count: int) -> bool:
        folder = self.root / split
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        names = map(_image_name, range(1, count + 1))
        return self._json_path(split).exists() and there.issuperset(names)

    def _json_path(self, split: str) -> Path:
        return self.root / 'annotations' / f'instances_{split}.json'

    def _draw_all(self, splits: dict[str, int], workers: int, progress: bool) -> None:
        images = [(split, n) for split, count in splits.items() for n in range(1, count + 1)]
        rows: dict[str, list[str]] = {split: [] for split in splits}
        drawn = self._drawn(images, min(workers, len(images)))
        bar = ProgressBar(drawn, 'images', len(images), disable=not progress)
        for (split, number), annotations in zip(images, bar):
            for annotation in annotations:
                row = {'id': len(rows[split]) + 1, 'image_id': number, **annotation}
                rows[split].append(_dump(row))
        for split, count in splits.items():
            _save(self._json_path(split), self._json(split, count, rows[split]).encode())

    def _drawn(self, images: list[tuple[str, int]], workers: int) -> Iterator[list[dict]]:
        """Draw each image that is missing; yield the annotations of all, in order."""
        if workers == 1:
            yield from map(self._draw_one, images)
            return
        # "spawn" behaves alike on all systems, and is safe in a process that has threads.
        spawn = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(workers, spawn, initializer=_follow_parent) as pool:
            try:
                yield from pool.map(self._draw_one, images, chunksize=5)
            finally:
                pool.shutdown(cancel_futures=True)

    def _draw_one(self, image: tuple[str, int]) -> list[dict]:
        split, number = image
        path = self.root / split / _image_name(number)
        picture, annotations = self.draw(split, number, not path.exists())
        if picture is not None:
            _save(path, cv2.imencode('.png', picture)[1].tobytes())
        return annotations

    def _json(self, split: str, count: int, annotations: list[str]) -> str:
        width, height = self.size
        images = (
            _dump({'id': n, 'file_name': _image_name(n), 'width': width, 'height': height})
            for n in range(1, count + 1)
        )
        return (
            f'{{"info":{_dump({**self.recipe, "split": split, "images": count})},\n"licenses":[],\n'
            f'"categories":{_dump(self.categories)},\n'
            f'"images":[{_lines(images)}],\n"annotations":[{_lines(annotations)}]}}\n'
        )


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


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.write(path, content, flush=False)  # thousands of images


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


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(',', ':'))


def _lines(rows: Iterable[str]) -> str:
    return '\n' + ',\n'.join(rows)

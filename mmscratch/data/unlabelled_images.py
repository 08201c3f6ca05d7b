"""Folders of images without labels."""

import functools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmscratch.data.image_check import IMAGE_SUFFIXES
from mmscratch.data.image_decoding import check_images
from mmscratch.errors import InputError

LEAST = 16  # with fewer there is nothing to contrast an image with


@DATASETS.register_module()
class UnlabelledImagesDataset(BaseDataset):
    """All images of folders and of the folders in them, in the order of their paths.

    Files and folders whose names begin with a dot are left out. ``img_id`` is the path from the
    folder that was given, which is its first part.

    Args:
        folders: paths.
        pipeline: transforms, the first of which reads ``img_path``.

    Example:
        >>> dataset = dict(
        ...     type='UnlabelledImagesDataset', folders=['images'],
        ...     pipeline=[dict(type='LoadImageFromFile'), dict(type='TwoViews')])
    """

    def __init__(self, folders: Sequence[str], pipeline: Sequence[dict]) -> None:
        self.folders = [Path(folder) for folder in folders]
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> list[dict]:
        """List the images."""
        return [
            dict(img_id=f'{folder.resolve().name}/{path.relative_to(folder)}', img_path=str(path))
            for folder in self.folders
            for path in find_images(folder)
        ]


def find_images(folder: Path) -> Iterator[Path]:
    """Find the images in a folder and in those within it, by suffix, in the order of their paths.

    An array beside an image of its name is left out: Ultralytics keeps such copies, as BGR.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f'--images {folder}: no such folder')
    found = sorted(find_files(folder, IMAGE_SUFFIXES))
    others = {path.with_suffix('') for path in found if path.suffix.lower() != '.npy'}
    copies = {p for p in found if p.suffix.lower() == '.npy' and p.with_suffix('') in others}
    if copies:
        _warn(
            f'{folder}: {len(copies)} arrays (.npy) are left out: beside each is an image of its '
            f'name, the first is {min(copies)}'
        )
    yield from (path for path in found if path not in copies)


def find_files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Find files in a folder and in those within it, hidden ones left out; links are followed."""
    seen: set[str] = set()
    for parent, below, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:
            below.clear()  # a link led back
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith('.'))
        for name in names:
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(parent, name)


@functools.cache  # a run lists a folder several times
def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def check(folders: Sequence[Path], pipeline: Sequence[Mapping[str, Any]]) -> int:
    """Decode each image that was not decoded before, and return their number.

    Raises:
        InputError: a folder is within another or given twice; an image is broken; or there are
            fewer than ``LEAST`` images.
    """
    found = {folder: list(find_images(folder)) for folder in folders}
    files = [path.resolve() for paths in found.values() for path in paths]
    if len(set(files)) < len(files):
        raise InputError(
            f'--images {" ".join(map(str, folders))}: some images occur twice: give each folder '
            'once, without those within it'
        )
    faults = [
        f'{path} {fact.fault}'
        for folder, paths in found.items()
        for path, fact in zip(paths, check_images(folder, paths, pipeline))
        if fact.fault
    ]
    if faults:
        some = ', '.join(faults[:3]) + (f', and {len(faults) - 3} more' if faults[3:] else '')
        raise InputError(f'{len(faults)} of {len(files)} images are broken: {some}: remove them')
    if len(files) < LEAST:
        raise InputError(
            f'--images {" ".join(map(str, folders))}: {len(files)} images, and pre-training takes '
            f'{LEAST} at least, hundreds to be of use (suffixes: {" ".join(IMAGE_SUFFIXES)})'
        )
    return len(files)

"""Folders of images without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from mmscratch.data.image_check import IMAGE_SUFFIXES, find_images
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

"""Is PASCAL VOC where the config reads it? Answered before training starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmscratch.errors import InputError


def check(dataset: Mapping[str, Any]) -> None:
    """Check that the list of images of a VOCDataset's config is there, and what it lists.

    MMDetection stops at the first missing list or annotation with a traceback, and at a missing
    image only when training comes to it.

    Raises:
        InputError: no list, an empty one, or files of it that are missing.
    """
    root = Path(dataset.get('data_root') or '')
    list_file = root / dataset['ann_file']
    if not list_file.is_file():
        raise InputError(
            f"{list_file}: no such file; put PASCAL VOC's folders VOC2007 and VOC2012, of its "
            f'archives VOCtrainval, into {root} (or a link to them)'
        )
    names = list_file.read_text().split()
    if not names:
        raise InputError(f'{list_file}: lists no image; take the file from the archive again')
    folder = root / (dataset.get('data_prefix') or {}).get('sub_data_root', '')
    kinds = {
        dataset.get('ann_subdir', 'Annotations'): '.xml',
        dataset.get('img_subdir', 'JPEGImages'): '.jpg',
    }
    for below, suffix in kinds.items():
        # one listing: to ask for each file is slow on network disks
        present = {path.name for path in (folder / below).glob(f'*{suffix}')}
        missing = [f'{name}{suffix}' for name in names if f'{name}{suffix}' not in present]
        if missing:
            raise InputError(
                f'{list_file}: {len(missing)} of its {len(names)} files are not in '
                f'{folder / below}, the first is {missing[0]}; unpack the archive again'
            )

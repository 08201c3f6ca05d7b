"""Twenty drawn data sets that differ in numbers, sizes, classes and difficulty of the objects."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mmscratch.data.shapes.drawing import CLASSES, TEXTURES, VERSION, ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.study.miniature import data as miniature
from mmscratch.study.real import data as real
from mmscratch.study.run import Data

ROOT = Path('data/calibration')
NUMBER, VALIDATION = 20, 100


@dataclass(frozen=True)
class Drawn:
    """A data set.

    Args:
        shapes: what its images look like.
        images: of the training set.
    """

    shapes: ShapesConfig
    images: int

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return dict(train=self.images, val=VALIDATION)


def _draw(seed: int) -> Drawn:
    random = np.random.default_rng(seed)
    smallest = random.uniform(0.18, 0.4)
    number = int(random.integers(1, 7))
    textures = random.choice(TEXTURES, int(random.integers(1, len(TEXTURES) + 1)), replace=False)
    shapes = ShapesConfig(
        size=64,
        classes=tuple(map(str, random.choice(CLASSES, number, replace=False))),
        objects=(1, int(random.integers(1, 7))),
        object_size=(round(smallest, 3), round(smallest * random.uniform(1.2, 2.0), 3)),
        rotation=int(random.choice([0, 30, 180])),
        occlusion=round(random.uniform(0, 0.5), 2),
        contrast=round(random.uniform(0.3, 1), 2),
        noise=int(random.integers(0, 25)),
        textures=tuple(map(str, textures)),
        seed=seed,
    )
    return Drawn(shapes, int(random.choice([160, 320, 640, 1280])))


DRAWN = {f'drawn{seed:02d}': _draw(seed) for seed in range(NUMBER)}


def images(kind: str) -> dict[str, int]:
    """The training images of each data set; ``kind`` is drawn or real.

    The study of real images has parts of the circuit boards itself.
    """
    if kind == 'real':
        return {name: real.SOURCES[name].images[0] for name in ('bccd', 'nuclei_dsb2018')}
    return {name: drawn.images for name, drawn in DRAWN.items()}


def of(name: str) -> Data:
    """A data set by its name. Its recipe decides all pixels and annotations."""
    if name not in DRAWN:
        return real.of(name)
    drawn = DRAWN[name]
    recipe = json.dumps([VERSION, asdict(drawn.shapes), drawn.splits], sort_keys=True)
    return Data(name, recipe, ROOT / name)


def prepare(used: Iterable[Data], workers: int) -> None:
    """Draw the data sets that are not there yet; those of others have to be there.

    Raises:
        InputError: one of those is not there.
    """
    used = sorted(used, key=lambda data: data.name)
    miniature.prepare([data for data in used if data.name in miniature.DATA], workers)
    real.prepare([data for data in used if data.name in real.SOURCES], workers)
    for data in used:
        if data.name in DRAWN:
            drawn = DRAWN[data.name]
            generate(ROOT / data.name, drawn.shapes, drawn.splits, workers=workers)
        elif data.root and not data.root.is_dir():
            raise InputError(f'{data.root}: no such folder; make {data.root}')

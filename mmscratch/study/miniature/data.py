"""The study's data sets, by the names of their folders."""

import functools
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from mmengine.config import Config

from mmscratch.data.shapes.drawing import VERSION, ShapesConfig, generate
from mmscratch.study.run import Data

ROOT = Path('data/miniature')
# Small objects, crowded and half hidden, so that AP is far from 100 after the longest schedule.
DETECTION = ShapesConfig(
    size=128,
    classes=('disc', 'rectangle', 'triangle', 'star', 'cross', 'ring'),
    objects=(2, 7),
    object_size=(0.15, 0.5),
    rotation=30,
    occlusion=0.4,
    noise=8,
)
# As VOC differs from COCO: fewer objects an image, and fewer classes.
SPARSE = replace(DETECTION, classes=('rectangle', 'star'), objects=(1, 2))
# Easy, for a one-stage detector, which learns too little of the others in few iterations.
LARGE = ShapesConfig(
    size=128,
    classes=('disc', 'rectangle', 'triangle'),
    objects=(1, 4),
    object_size=(0.4, 0.7),
    rotation=0,
    occlusion=0.1,
)
# Other classes, and only some of the textures.
CLASSIFICATION = ShapesConfig(
    size=64,
    classes=('heart', 'arrow', 'crescent', 'hexagon', 'tee', 'hourglass', 'half_disc', 'ell'),
    objects=(1, 1),
    object_size=(0.6, 0.95),
    rotation=30,
    occlusion=0.0,
    noise=8,
    textures=('plain', 'stripes', 'waves', 'checks', 'dots'),
)
DATA = {
    'detection': (DETECTION, {'train': 3000, 'val': 300}),
    'sparse': (SPARSE, {'train': 300, 'val': 300}),
    'large': (LARGE, {'train': 1000, 'val': 300}),
    'classification': (CLASSIFICATION, {'train': 12000, 'val': 1000}),
}


@functools.cache
def of_config(file: str) -> Data:
    """The data set of a config. Its recipe decides all pixels and annotations."""
    name = Path(Config.fromfile(file).train_dataloader.dataset.data_root).name
    config, splits = DATA[name]
    return Data(name, json.dumps([VERSION, asdict(config), splits], sort_keys=True))


def prepare(used: Iterable[Data], workers: int) -> None:
    """Draw the data sets that are not there yet."""
    for name in sorted(data.name for data in used):
        config, splits = DATA[name]
        generate(ROOT / name, config, splits, workers=workers)

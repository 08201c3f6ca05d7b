"""Fixtures that several test files share."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import mmengine.config.utils
import numpy as np
import pytest
import torch
from PIL import Image

import mmscratch  # noqa: F401  (before mmdet: it stands in for mmcv's compiled ops)


@pytest.fixture(scope='session', autouse=True)
def _metafiles_are_read_once():
    """MMEngine reads all of MMDetection's metafiles anew for each ``mmdet::`` base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.utils.load', functools.cache(mmengine.config.utils.load))
        yield


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory):
    """Which images were decoded is not remembered in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


# Listed against their ids: MMDetection's labels follow the list, 'star' is label 0.
CATEGORIES = [{'id': 7, 'name': 'star'}, {'id': 3, 'name': 'disc'}]


def coco_annotation(number: int, image_id: int, category_id: int, bbox: list[float]) -> dict:
    x, y, w, h = bbox
    return {
        'id': number,
        'image_id': image_id,
        'category_id': category_id,
        'bbox': bbox,
        'area': w * h,
        'iscrowd': 0,
        'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }


def coco_split(numbers: list[int], suffix: str) -> dict:
    images = [
        {'id': n, 'file_name': f'{n}{suffix}', 'width': 48, 'height': 40 + n} for n in numbers
    ]
    # The last image of the training split has nothing on it.
    annotations = [
        coco_annotation(10 * n + k, n, category['id'], [4.0 * k, 5.0, 20.0, 30.0])
        for n in numbers
        if n != 3
        for k, category in enumerate(CATEGORIES)
    ]
    categories = [dict(category) for category in CATEGORIES]
    return {'images': images, 'annotations': annotations, 'categories': categories}


@pytest.fixture
def make_coco(tmp_path) -> Callable[..., Path]:
    """Writes 3 training images and 2 validation images of 2 classes in COCO layout.

    ``change(split, data)`` may spoil the JSON before it is written.
    """

    def make(change: Callable[[str, dict], None] | None = None, suffix: str = '') -> Path:
        root = tmp_path / 'data'
        (root / 'annotations').mkdir(parents=True, exist_ok=True)
        for name, numbers, ending in (('train', [1, 2, 3], '.png'), ('val', [4, 5], '.jpg')):
            data = coco_split(numbers, ending)
            folder = root / f'{name}{suffix}'
            folder.mkdir(exist_ok=True)
            for image in data['images']:
                rng = np.random.default_rng(image['id'])
                pixels = rng.integers(0, 256, (image['height'], image['width'], 3), np.uint8)
                Image.fromarray(pixels).save(folder / image['file_name'])
            if change:
                change(name, data)
            file = root / 'annotations' / f'instances_{name}{suffix}.json'
            file.write_text(json.dumps(data))
        return root

    return make


@pytest.fixture
def make_voc(tmp_path) -> Callable[..., Path]:
    """Writes a VOCdevkit of one or two images a list, with a disc of a dog on each."""

    def make() -> Path:
        root = tmp_path / 'VOCdevkit'
        parts = {
            'VOC2007': {'trainval': ['000005', '000007']},
            'VOC2012': {'train': ['2008_000008'], 'val': ['2008_000002', '2008_000003']},
        }
        for year, lists in parts.items():
            for below in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
                (root / year / below).mkdir(parents=True, exist_ok=True)
            for name, ids in lists.items():
                file = root / year / f'ImageSets/Main/{name}.txt'
                file.write_text(''.join(f'{i}\n' for i in ids))
                for i in ids:
                    write_voc_image(root / year, i)
        return root

    return make


def write_voc_image(folder: Path, name: str) -> None:
    """A 96 x 64 image with a dog, a small cat and a difficult dog; corners count from 1."""
    boxes = [('dog', 0, (11, 11, 50, 50)), ('cat', 0, (1, 1, 20, 12)), ('dog', 1, (61, 21, 90, 60))]
    pixels = np.random.default_rng(len(name)).integers(0, 100, (64, 96, 3), np.uint8)
    objects = ''
    for kind, difficult, (x1, y1, x2, y2) in boxes:
        pixels[y1 - 1 : y2, x1 - 1 : x2] += 100
        objects += (
            f'<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>'
            f'<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>'
            '</bndbox></object>'
        )
    Image.fromarray(pixels).save(folder / f'JPEGImages/{name}.jpg')
    (folder / f'Annotations/{name}.xml').write_text(
        '<annotation><size><width>96</width><height>64</height><depth>3</depth></size>'
        f'{objects}</annotation>'
    )


@pytest.fixture(autouse=True)
def _fresh_registries():
    """Runners of one test must not be found by name in the next."""
    yield
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    # each class of visualizer keeps its own list
    visualizers = [Visualizer]
    for visualizer in visualizers:
        visualizers += visualizer.__subclasses__()
    for manager in (MMLogger, MessageHub, *visualizers, DefaultScope):
        manager._instance_dict.clear()


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=needs_cuda)])
def device(request) -> str:
    return request.param

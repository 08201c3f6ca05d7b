import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmscratch.data.shapes import drawing as shapes
from mmscratch.data.shapes.drawing import (
    CLASSES,
    NUM_KEYPOINTS,
    SHAPES,
    ShapesConfig,
    generate,
    render,
)
from mmscratch.data.shapes.polygons import SUBPIXEL, rasterize, twice_area
from mmscratch.errors import InputError

TOOL = Path(__file__).resolve().parents[3] / 'tools/data/shapes.py'
SMALL = ShapesConfig(size=64, object_size=(0.2, 0.5))
HARD = ShapesConfig(
    size=(200, 150),
    classes=len(CLASSES),
    objects=(5, 10),
    object_size=(0.08, 0.6),
    occlusion=0.6,
    contrast=0.4,
    noise=20,
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lay_out(config: ShapesConfig, number: int):
    return shapes._lay_out(config, shapes._Stream('layout', config.seed, 'train', number))


def decode(annotation: dict, owner: np.ndarray) -> np.ndarray:
    rles = pycocotools.mask.frPyObjects(annotation['segmentation'], *owner.shape)
    return pycocotools.mask.decode(pycocotools.mask.merge(rles)).astype(bool)


class Script:
    """Plays a given sequence in place of random numbers."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    def integer(self, low: int, high: int) -> int:
        assert low <= self.values[0] <= high
        return self.values.pop(0)

    def choice(self, options: tuple[str, ...]) -> str:
        return options[self.integer(0, len(options) - 1)]


def scripted(*objects: tuple[int, int], radius: int = 32) -> Script:
    """Upright, unstretched objects of the first class at the given centres (pixels)."""
    values = [len(objects)]
    for position, (x, y) in enumerate(objects):
        values += [0, *([0] if position else []), 0]  # class, which to be near to, but no
        values += [radius * SUBPIXEL, x * SUBPIXEL, y * SUBPIXEL, shapes.RADIUS, 0, 0]
    return Script(*values)


# These fail if another machine, NumPy or OpenCV draws otherwise. Whoever changes the drawing on
# purpose raises VERSION and writes the new hashes.
@pytest.mark.parametrize(
    ('config', 'pixels', 'annotations'),
    [
        (
            ShapesConfig(),
            '9a9836dc610ceb14459a01215ff6603af2688315a6dc9c8a4ad3c6046d432a31',
            '595e974bf7a64c4fc0ed2669428f2a9a6d12b82f3d75ce46f58aacffc25a9f16',
        ),
        (
            HARD,
            '00c36d5e111df50c595a5f24fd190bbf3b1a6c1d736764ee6820e8a0c518602c',
            'f0459680a8c2008a2990f7bda5c1f2bb425bd75455169f18e885ad84aadba1c8',
        ),
    ],
    ids=['default', 'hard'],
)
def test_same_pixels_and_numbers_everywhere(config, pixels, annotations):
    drawn = [render(config, 'train', number) for number in range(1, 7)]
    assert sha256(json.dumps([a for _, a in drawn]).encode()) == annotations
    assert sha256(b''.join(image.tobytes() for image, _ in drawn)) == pixels


def test_same_files_everywhere(tmp_path):
    generate(tmp_path, SMALL, {'train': 3}, progress=False)
    text = (tmp_path / 'annotations/instances_train.json').read_bytes()
    assert sha256(text) == '0e822828522d032001f067f3684d98ba00f6f664e496648ed672d6f2ccc91cde'
    image = cv2.imread(str(tmp_path / 'train/000000000002.png'))
    assert (image == render(SMALL, 'train', 2)[0]).all()  # PNG loses nothing


def test_images_depend_on_seed_split_and_number_only():
    first = render(SMALL, 'train', 1)[0]
    others = [
        render(SMALL, 'train', 2)[0],
        render(SMALL, 'val', 1)[0],
        render(ShapesConfig(size=64, object_size=(0.2, 0.5), seed=1), 'train', 1)[0],
    ]
    assert (first == render(SMALL, 'train', 1)[0]).all()
    assert not any((first == other).all() for other in others)


def test_neither_processes_nor_the_number_of_images_matter(tmp_path):
    few, many = tmp_path / 'few', tmp_path / 'many'
    generate(few, SMALL, {'train': 53}, workers=1, progress=False)
    generate(many, SMALL, {'train': 101}, workers=2, progress=False)
    for file in sorted((few / 'train').iterdir()):
        assert file.read_bytes() == (many / 'train' / file.name).read_bytes()
    one, other = (
        json.loads((root / 'annotations/instances_train.json').read_bytes()) for root in (few, many)
    )
    count = len(one['annotations'])
    assert one['annotations'] == other['annotations'][:count]
    assert one['images'] == other['images'][:53]
    assert other['annotations'][count]['image_id'] == 54


def test_picture_is_not_needed_for_annotations():
    image, annotations = render(SMALL, 'train', 1, picture=False)
    assert image is None
    assert annotations == render(SMALL, 'train', 1)[1]


@pytest.mark.parametrize('config', [ShapesConfig(), HARD], ids=['default', 'hard'])
def test_annotations_agree_with_what_is_seen(config):
    ious = {'small': [], 'larger': []}
    for number in range(1, 31):
        objects, owner = lay_out(config, number)
        annotations = render(config, 'train', number, picture=False)[1]
        assert len(objects) == len(annotations)
        for index, annotation in enumerate(annotations):
            seen = owner == index
            assert annotation['area'] == seen.sum() > 0
            ys, xs = np.nonzero(seen)
            x, y, w, h = annotation['bbox']
            assert [x, y, x + w, y + h] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            mask = decode(annotation, owner)
            size = 'small' if annotation['area'] < 32**2 else 'larger'
            ious[size].append((mask & seen).sum() / (mask | seen).sum())
            again_ys, again_xs = np.nonzero(mask)
            assert abs(again_xs.min() - x) <= 1
            assert abs(again_xs.max() + 1 - x - w) <= 1
            assert abs(again_ys.min() - y) <= 1
            assert abs(again_ys.max() + 1 - y - h) <= 1
    assert np.mean(ious['small']) > 0.98
    assert min(ious['small']) > 0.85
    assert np.mean(ious['larger']) > 0.99
    assert min(ious['larger']) > 0.95


def test_occlusion_is_bounded_and_happens():
    for config in (ShapesConfig(), HARD):
        hidden = [
            1 - (owner == index).sum() / thing.full_area
            for objects, owner in (lay_out(config, number) for number in range(1, 31))
            for index, thing in enumerate(objects)
        ]
        assert max(hidden) <= config.occlusion
        assert np.mean(np.array(hidden) > 0.05) > 0.15


def test_without_occlusion_all_is_seen():
    config = ShapesConfig(occlusion=0)
    for number in range(1, 11):
        objects, owner = lay_out(config, number)
        assert [(owner == k).sum() for k in range(len(objects))] == [o.full_area for o in objects]


def test_numbers_of_objects_and_their_sizes():
    config = ShapesConfig(objects=(2, 4), object_size=(0.2, 0.4))
    counts = set()
    for number in range(1, 41):
        objects, _ = lay_out(config, number)
        counts.add(len(objects))
        assert all(16 <= thing.radius / SUBPIXEL <= 32 for thing in objects)
    assert counts == {2, 3, 4}


def test_hand_worked_rectangles():
    """Half a side of a rectangle of radius 32 is 724/1024 x 32 = 22.625 pixels."""
    config = ShapesConfig(
        size=(100, 100), classes=('rectangle',), object_size=(0.64, 0.64), occlusion=0.5
    )
    objects, owner = shapes._lay_out(config, scripted((50, 50)))
    (alone,) = shapes._annotate(config, objects, owner)
    assert alone['bbox'] == [27, 27, 46, 46]  # centres 27.5 to 72.5 within 27.375 to 72.625
    assert alone['area'] == 46 * 46
    assert alone['segmentation'] == [[73, 27, 73, 73, 27, 73, 27, 27]]
    assert alone['keypoints'][:12] == [27, 27, 2, 72, 27, 2, 72, 72, 2, 27, 72, 2]
    assert alone['keypoints'][12:] == [0] * 3 * (NUM_KEYPOINTS - 4)
    assert alone['num_keypoints'] == 4

    # The second one covers the first from column 72 on, and reaches beyond the right border.
    objects, owner = shapes._lay_out(config, scripted((50, 50), (95, 50)))
    under, over = shapes._annotate(config, objects, owner)
    assert under['bbox'] == [27, 27, 45, 46]
    assert under['keypoints'][:12] == [27, 27, 2, 72, 27, 1, 72, 72, 1, 27, 72, 2]
    assert under['num_keypoints'] == 4
    assert over['bbox'] == [72, 27, 28, 46]
    assert over['keypoints'][:12] == [72, 27, 2, 0, 0, 0, 0, 0, 0, 72, 72, 2]
    assert over['num_keypoints'] == 2


def test_object_inside_another_and_objects_across_it():
    config = ShapesConfig(
        size=(100, 100), classes=('rectangle',), object_size=(0.16, 0.64), occlusion=0.9
    )
    big, small = scripted((50, 50)).values, scripted((50, 50), (50, 50), radius=8).values
    script = Script(2, *big[1:], *small[1 + 8 :])
    objects, owner = shapes._lay_out(config, script)
    under, over = shapes._annotate(config, objects, owner)
    assert under['area'] == 46 * 46 - over['area']
    assert len(under['segmentation']) == 2  # cut through the hole
    assert (decode(under, owner) == (owner == 0)).all()
    assert under['keypoints'][2:12:3] == [2, 2, 2, 2]


@pytest.mark.parametrize('name', [n for n in CLASSES if len(SHAPES[n].corners) > 2])
def test_corners_are_the_shape(name):
    config = ShapesConfig(classes=(name,), objects=(1, 1), object_size=(0.5, 0.9), occlusion=0)
    symmetry = SHAPES[name].symmetry
    for number in range(1, 6):
        (thing,), owner = lay_out(config, number)
        (annotation,) = render(config, 'train', number, picture=False)[1]
        count = annotation['num_keypoints']
        points = np.array(annotation['keypoints']).reshape(-1, 3)
        assert points[:, 2].tolist() == [2] * count + [0] * (NUM_KEYPOINTS - count)
        corners = points[:count, :2]
        assert twice_area(corners) > 0  # clockwise
        mask, left, top = rasterize([corners * SUBPIXEL + SUBPIXEL // 2])
        drawn = np.zeros_like(owner, dtype=bool)
        drawn[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        seen = owner == 0
        assert (drawn & seen).sum() / (drawn | seen).sum() > 0.85  # corners count to the pixel
        alike = corners[:: count // symmetry]
        if symmetry > 1:
            assert corners[0, 1] == alike[:, 1].min()
        assert thing.name == name


def test_categories(tmp_path):
    config = ShapesConfig(size=64, object_size=(0.2, 0.5), classes=('star', 'disc', 'triangle'))
    generate(tmp_path, config, {'val': 30}, progress=False)
    data = json.loads((tmp_path / 'annotations/instances_val.json').read_bytes())
    assert [(c['id'], c['name']) for c in data['categories']] == [
        (1, 'star'), (2, 'disc'), (3, 'triangle')
    ]  # fmt: skip
    assert {len(c['keypoints']) for c in data['categories']} == {NUM_KEYPOINTS}
    assert [c['skeleton'] for c in data['categories'][1:]] == [[], [[1, 2], [2, 3], [3, 1]]]
    assert {a['category_id'] for a in data['annotations']} == {1, 2, 3}
    for annotation in data['annotations']:
        count = {1: 10, 2: 0, 3: 3}[annotation['category_id']]
        assert annotation['num_keypoints'] <= count
        assert not any(annotation['keypoints'][3 * count :])
    assert data['info']['classes'] == ['star', 'disc', 'triangle']
    assert data['info']['version'] == shapes.VERSION
    again = {key: data['info'][key] for key in vars(config)}
    assert ShapesConfig(**again) == config  # the data set says how to make it again


def test_classes_by_number_are_a_frozen_order():
    assert ShapesConfig().classes == ('disc', 'rectangle', 'triangle', 'star', 'cross')
    assert ShapesConfig(classes=7).classes[5:] == ('ring', 'heart')
    assert len(ShapesConfig(classes=16).classes) == 16


def test_paint_does_not_move_objects_and_contrast_shows():
    def difference(contrast: float) -> float:
        config = ShapesConfig(contrast=contrast, noise=0)
        total = 0.0
        for number in range(1, 11):
            image, annotations = render(config, 'train', number)
            assert annotations == render(ShapesConfig(), 'train', number, picture=False)[1]
            _, owner = lay_out(config, number)
            ground = image[owner < 0].mean(axis=0)
            total += abs(image[owner >= 0] - ground).mean()
        return total / 10

    strong, weak, none = (difference(contrast) for contrast in (1.0, 0.3, 0.0))
    assert strong > 2 * weak > 2 * none


def test_noise_and_textures_show():
    quiet, noisy = (ShapesConfig(noise=n, textures=('plain',)) for n in (0, 30))
    one, other = (render(c, 'train', 1)[0].astype(int) for c in (quiet, noisy))
    assert 10 < abs(one - other).mean() < 30
    assert abs(one - other).max() <= 30
    striped = render(ShapesConfig(noise=0, textures=('stripes',)), 'train', 1)[0]
    _, owner = lay_out(quiet, 1)
    assert (striped != one).any(axis=2)[owner >= 0].mean() > 0.5


def test_coco_sizes_all_occur_in_large_images():
    config = ShapesConfig(size=320, objects=(3, 6))
    areas = [a['area'] for n in range(1, 21) for a in render(config, 'train', n, picture=False)[1]]
    assert min(areas) < 32**2
    assert any(32**2 <= area < 96**2 for area in areas)
    assert max(areas) >= 96**2


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_coco_api_gives_ground_truth_full_marks(tmp_path, kind):
    generate(tmp_path, ShapesConfig(), {'val': 10}, progress=False)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / 'annotations/instances_val.json'))
        found = [
            {
                'image_id': a['image_id'],
                'category_id': a['category_id'],
                'score': 0.9,
                **({'bbox': a['bbox']} if kind == 'bbox' else {'segmentation': truth.annToRLE(a)}),
            }
            for a in truth.anns.values()
        ]
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1.0
    assert evaluation.stats[3:5].tolist() == [1.0, 1.0]  # small and medium


def test_rotation_bounds_the_turn_from_upright():
    turns = {}
    for rotation in (0, 20):
        config = ShapesConfig(
            classes=('arrow',),
            objects=(1, 1),
            object_size=(0.3, 0.5),
            occlusion=0,
            rotation=rotation,
        )
        degrees = []
        for number in range(1, 30):
            (annotation,) = render(config, 'train', number, picture=False)[1]
            tip = np.array(annotation['keypoints'][:2])
            tail = np.array(annotation['keypoints']).reshape(-1, 3)[3:5, :2].mean(axis=0)
            x, y = tip - tail
            degrees.append(abs(np.degrees(np.arctan2(x, -y))))
        turns[rotation] = max(degrees)
    assert turns[0] < 5  # corners count to the pixel
    assert 12 < turns[20] < 30  # stretching adds to the angle that is seen


@pytest.mark.parametrize(
    ('wrong', 'what'),
    [
        ({'size': 8}, 'size'),
        ({'size': (160,)}, 'size'),
        ({'classes': 0}, 'classes=0'),
        ({'classes': 17}, 'classes=17'),
        ({'classes': ('disc', 'blob')}, "'blob'"),
        ({'classes': ('disc', 'disc')}, 'once'),
        ({'classes': ()}, 'at least one'),
        ({'textures': ('tartan',)}, "'tartan'"),
        ({'objects': (5, 2)}, 'objects'),
        ({'objects': (0, 0)}, 'objects'),
        ({'object_size': (0.5, 0.2)}, 'object_size'),
        ({'object_size': (0.01, 0.2)}, '8 pixels'),
        ({'rotation': 200}, 'rotation=200'),
        ({'occlusion': 0.95}, 'occlusion=0.95'),
        ({'contrast': -0.1}, 'contrast'),
        ({'noise': 200}, 'noise=200'),
    ],
)
def test_wrong_parameters_get_one_line(wrong, what):
    with pytest.raises(InputError) as error:
        ShapesConfig(**wrong)
    assert what in str(error.value)
    assert '\n' not in str(error.value)


def run_tool(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tool_draws_and_tells(tmp_path):
    options = [str(tmp_path / 'out'), '--train', '5', '--val', '0', '--size', '96', '64']
    done = run_tool(*options, '--classes', 'ring', 'heart', '--object-size', '0.3', '0.6')
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / 'out/annotations/instances_train.json').read_bytes())
    total = len(data['annotations'])
    file = tmp_path / 'out/annotations/instances_train.json'
    assert (data['images'][0]['width'], data['images'][0]['height']) == (96, 64)
    rings = sum(a['category_id'] == 1 for a in data['annotations'])
    small = sum(a['area'] < 32**2 for a in data['annotations'])
    assert done.stdout.startswith(f'{file}: 5 images, {total} objects ({small} small, ')
    assert re.search(rf'ring +{rings} +heart +{total - rings}\n', done.stdout)
    assert not (tmp_path / 'out/annotations/instances_val.json').exists()


@pytest.mark.parametrize(
    ('options', 'what'),
    [
        (['--classes', '99'], 'classes=99'),
        (['--size', '1', '2', '3'], 'size=(1, 2, 3)'),
        (['--train', '0', '--val', '0'], 'no images'),
    ],
)
def test_tool_says_what_is_wrong_in_one_line(tmp_path, options, what):
    done = run_tool(str(tmp_path / 'out'), *options)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert done.stderr.count('\n') == 1
    assert what in done.stderr

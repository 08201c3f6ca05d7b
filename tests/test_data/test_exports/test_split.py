from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmscratch.data import layouts
from mmscratch.data.exports.split import stratified
from mmscratch.data.folder_check.duplicates import alike
from mmscratch.errors import InputError

from .conftest import Drawn, box, coco, draw, write_json


def test_each_class_has_its_share():
    rng = np.random.default_rng(0)
    shares = {'common': 0.9, 'half': 0.5, 'rare': 0.05}
    classes = [{name for name, p in shares.items() if rng.random() < p} for _ in range(1000)]
    held_out = stratified(list(range(1000)), classes, 0.2, seed=0)
    total = Counter(name for names in classes for name in names)
    val = Counter(name for names, is_val in zip(classes, held_out) for name in names if is_val)
    assert sum(held_out) == pytest.approx(200, abs=2)
    for name, count in total.items():
        assert val[name] == pytest.approx(count / 5, abs=2)
    assert held_out != stratified(list(range(1000)), classes, 0.2, seed=1)
    assert held_out == stratified(list(range(1000)), classes, 0.2, seed=0)


def test_groups_stay_together_and_two_of_a_class_are_divided():
    groups = [0, 0, 0, 1, 2, 3, 3, 4, 5, 6]
    classes = [{'a'}] * 8 + [{'rare'}] * 2
    held_out = stratified(groups, classes, 0.2, seed=3)
    assert len(set(held_out[:3])) == len(set(held_out[5:7])) == 1
    assert sorted(held_out[8:]) == [False, True]
    assert any(held_out[:8])


def picture(seed: int) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(blocks).resize((160, 120), Image.Resampling.BICUBIC)


def test_images_that_belong_together(tmp_path):
    """A smaller copy, one of 16 bits, what Roboflow made of one image, black images."""
    first = picture(0)
    grey = np.asarray(first.convert('L')).astype(np.uint16) * 11
    images = {
        'a.png': first,
        'b.jpg': first.resize((80, 60)),
        'c.tif': Image.fromarray(grey),
        'd.png': picture(1),
        'e.rf.1b2c.jpg': picture(2),
        'e.rf.9e0d.jpg': picture(2).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        'f.png': Image.new('L', (40, 40)),
        'g.png': Image.new('L', (40, 40)),
        'h.png': Image.new('L', (40, 40), 255),
    }
    for name, image in images.items():
        image.save(tmp_path / name)
    (tmp_path / 'z.png').write_bytes(b'no image')
    groups = alike([tmp_path / name for name in (*images, 'z.png')])
    assert groups == [0, 0, 0, 1, 2, 2, 3, 3, 4, 5]


def test_frames_of_a_camera_that_does_not_move_can_be_divided(tmp_path):
    for number in range(5):
        frame = picture(0)
        frame.putpixel((number, 0), (1, 2, 3))
        frame.save(tmp_path / f'{number}.png')
    assert alike([tmp_path / f'{number}.png' for number in range(5)]) == [0, 1, 2, 3, 4]


def test_images_of_one_scene_alone_cannot_be_divided(tmp_path):
    image = Drawn('1.png', 'train', 40, 40, [('disc', box(1, 1, 9, 9))])
    write_json(tmp_path / 'labels.json', coco([image]))
    draw(image, tmp_path / 'images/1.png')
    with pytest.raises(
        InputError, match=r'labels\.json: its 1 images are too few or too much alike'
    ):
        layouts.find(tmp_path)

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmscratch.data import coco_json, duplicates, layouts, repoint
from mmscratch.data.duplicates import alike
from mmscratch.data.exports import cache
from mmscratch.data.exports.division import stratified
from mmscratch.errors import InputError
from mmscratch.visualization.folder_check.folder_check import FolderCheck

from .conftest import Drawn, box, coco, draw, write_json

CONFIG = Path('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')


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
    groups = alike([tmp_path / name for name in (*images, 'z.png')], tmp_path / 'looks.json')
    assert groups == ([0, 0, 0, 1, 2, 2, 3, 3, 4, 5], 0)


def test_frames_of_a_camera_that_does_not_move_can_be_divided(tmp_path):
    for number in range(5):
        frame = picture(0)
        frame.putpixel((number, 0), (1, 2, 3))
        frame.save(tmp_path / f'{number}.png')
    images = [tmp_path / f'{number}.png' for number in range(5)]
    assert alike(images, tmp_path / 'looks.json') == ([0, 1, 2, 3, 4], 5)


def test_images_of_one_scene_alone_cannot_be_divided(tmp_path):
    image = Drawn('1.png', 'train', 40, 40, [('disc', box(1, 1, 9, 9))])
    write_json(tmp_path / 'labels.json', coco([image]))
    draw(image, tmp_path / 'images/1.png')
    with pytest.raises(
        InputError, match=r'labels\.json: its 1 images are too few or too much alike'
    ):
        layouts.find(tmp_path)


def frames(root, *counts) -> None:
    """A YOLO folder of cameras that do not move, with so many frames each."""
    for camera, count in enumerate(counts):
        for number in range(count):
            frame = picture(camera)
            frame.putpixel((number, 0), (1, 2, 3))
            for kind in ('images', 'labels'):
                (root / kind).mkdir(parents=True, exist_ok=True)
            frame.save(root / f'images/c{camera}_{number:02}.png')
            (root / f'labels/c{camera}_{number:02}.txt').write_text('0 0.5 0.5 0.2 0.2\n')


def sides(root) -> dict[str, str]:
    """The split of each image."""
    found = layouts.find(root)
    return {
        row['file_name']: split
        for split, reads in found.items()
        for row in coco_json.load(repoint.annotation_path(reads))['images']
    }


def notes(root) -> list[str]:
    return cache.source_of(repoint.annotation_path(layouts.find(root)['train'])).notes


def test_beside_a_camera_of_most_frames_others_stay_together(tmp_path):
    """The frames of the first are on both sides, which is told; those of the second are not."""
    frames(tmp_path, 12, 8)
    found = sides(tmp_path)
    assert len({side for name, side in found.items() if 'c0' in name}) == 2
    assert len({side for name, side in found.items() if 'c1' in name}) == 1
    assert any('; 7 copies and near-duplicates are in the same split' in n for n in notes(tmp_path))
    assert any(
        n.startswith('WARNING: 12 of 20 images nearly equal each other') for n in notes(tmp_path)
    )
    check = FolderCheck(tmp_path, CONFIG)
    told = check.findings['still leak']
    assert told.severity == 'spoils results'
    assert told.counts.total() == 12
    assert check.findings['near'].counts.total() == 7


def test_images_keep_their_side(tmp_path):
    """An edit must not bring images of training into validation."""
    for number in range(40):
        (tmp_path / 'labels').mkdir(exist_ok=True)
        (tmp_path / 'images').mkdir(exist_ok=True)
        picture(number).save(tmp_path / f'images/{number}.png')
        (tmp_path / f'labels/{number}.txt').write_text(f'{number % 3} 0.5 0.5 0.2 0.2\n')
    before = sides(tmp_path)
    (tmp_path / 'labels/0.txt').write_text('')
    (tmp_path / 'labels/1.txt').write_text('0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.2 0.2\n')
    assert sides(tmp_path) == before
    for number in range(40, 60):
        picture(number).save(tmp_path / f'images/{number}.png')
        (tmp_path / f'labels/{number}.txt').write_text('2 0.5 0.5 0.2 0.2\n')
    twin = next(name for name, side in before.items() if side == 'val')
    picture(int(twin[7:-4])).resize((80, 60)).save(tmp_path / 'images/twin.png')
    after = sides(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after['images/twin.png'] == 'val'
    assert 11 <= Counter(after.values())['val'] <= 14
    assert any(
        '40 images are in the split that split.json names, 21 new' in n for n in notes(tmp_path)
    )
    # without a side that is left all are dealt
    for name, side in after.items():
        if side == 'val':
            (tmp_path / name).unlink()
    assert {*sides(tmp_path).values()} == {'train', 'val'}


def test_only_images_that_changed_are_looked_at_again(tmp_path, monkeypatch):
    frames(tmp_path, 1, 2, 2, 1, 1)
    seen: list[str] = []
    look = duplicates.look_at_all
    monkeypatch.setattr(
        duplicates,
        'look_at_all',
        lambda paths: seen.extend(path.name for path in paths) or look(paths),
    )
    before = sides(tmp_path)
    assert len(seen) == 7
    assert (tmp_path / '.mmscratch').is_dir()
    told = [note for note in notes(tmp_path) if '2 copies and near-duplicates' in note]
    seen.clear()
    (tmp_path / 'labels/c0_00.txt').write_text('0 0.5 0.5 0.3 0.3\n')
    assert sides(tmp_path) == before
    assert seen == []
    assert (
        [note for note in notes(tmp_path) if '2 copies and near-duplicates' in note] == told != []
    )
    picture(9).save(tmp_path / 'images/c0_00.png')
    (file,) = (tmp_path / '.mmscratch').glob('looks_*.json')
    sides(tmp_path)
    assert seen == ['c0_00.png']
    file.write_text('[1]')
    picture(8).save(tmp_path / 'images/c0_00.png')
    sides(tmp_path)
    assert len(seen) == 8

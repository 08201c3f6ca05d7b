import json
from pathlib import Path

import numpy as np
import pytest

from mmscratch.data.shapes.resumable_coco_writer import ResumableCocoWriter
from mmscratch.errors import InputError

SPLITS = {'train': 12, 'val': 3}


class Draw:
    """Grey images, with one box each; pictures are counted, and one may fail."""

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing
        self.pictures: list[tuple[str, int]] = []

    def __call__(self, split: str, number: int, picture: bool):
        if number == self.failing:
            raise KeyboardInterrupt
        if picture:
            self.pictures.append((split, number))
        image = np.full((6, 8, 3), number, dtype=np.uint8) if picture else None
        return image, [{'category_id': 1 + number % 2, 'bbox': [0, 0, 2, 2], 'area': 4}]


def make_writer(root: Path, draw: Draw, **recipe) -> ResumableCocoWriter:
    categories = [{'id': 1, 'name': 'even'}, {'id': 2, 'name': 'odd'}]
    recipe = {'generator': 'test', 'seed': 0, **recipe}
    return ResumableCocoWriter(root, recipe, categories, (8, 6), draw)


def read_all(root: Path) -> dict[str, bytes]:
    files = sorted(p for p in root.rglob('*') if p.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_layout_and_ids(tmp_path):
    make_writer(tmp_path, Draw()).write(SPLITS, progress=False)
    assert {p.name for p in tmp_path.iterdir()} == {'annotations', 'recipe.json', 'train', 'val'}
    data = json.loads((tmp_path / 'annotations/instances_train.json').read_bytes())
    assert data['info'] == {'generator': 'test', 'seed': 0, 'split': 'train', 'images': 12}
    assert data['images'][10] == {
        'id': 11, 'file_name': '000000000011.png', 'width': 8, 'height': 6
    }  # fmt: skip
    assert [a['id'] for a in data['annotations']] == list(range(1, 13))
    assert [a['image_id'] for a in data['annotations']] == list(range(1, 13))
    assert len(list((tmp_path / 'train').iterdir())) == 12


def test_interrupted_goes_on_to_the_same_bytes(tmp_path):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    make_writer(whole, Draw()).write(SPLITS, progress=False)
    first, second = Draw(failing=9), Draw()
    with pytest.raises(KeyboardInterrupt):
        make_writer(broken, first).write(SPLITS, progress=False)
    assert not (broken / 'annotations').exists()
    make_writer(broken, second).write(SPLITS, progress=False)
    assert len(first.pictures) == 8
    assert second.pictures[:4] == [('train', k) for k in (9, 10, 11, 12)]
    assert read_all(broken) == read_all(whole)


def test_finished_is_left_alone(tmp_path, capsys):
    make_writer(tmp_path, Draw()).write(SPLITS, progress=False)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    again = Draw()
    make_writer(tmp_path, again).write(SPLITS)
    assert again.pictures == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before
    assert 'is complete, nothing to draw' in capsys.readouterr().err


def test_lost_image_is_drawn_again(tmp_path):
    make_writer(tmp_path, Draw()).write(SPLITS, progress=False)
    before = read_all(tmp_path)
    (tmp_path / 'train/000000000005.png').unlink()
    again = Draw()
    make_writer(tmp_path, again).write(SPLITS, progress=False)
    assert again.pictures == [('train', 5)]
    assert read_all(tmp_path) == before


def test_other_data_sets_are_refused_and_left_alone(tmp_path):
    make_writer(tmp_path, Draw()).write(SPLITS, progress=False)
    before = read_all(tmp_path)
    for recipe, splits, what in [
        ({'seed': 1}, SPLITS, 'seed=0, not 1'),
        ({'noise': 1}, SPLITS, 'noise=None, not 1'),
        ({}, {'train': 5}, 'splits='),
    ]:
        with pytest.raises(InputError, match=what) as error:
            make_writer(tmp_path, Draw(), **recipe).write(splits, progress=False)
        assert str(tmp_path) in str(error.value)
        assert '\n' not in str(error.value)
    assert read_all(tmp_path) == before


@pytest.mark.parametrize('text', ['{', '[]', '{"seed": 0}', '{"counts": 3}'])
def test_broken_recipe_is_refused(tmp_path, text):
    (tmp_path / 'recipe.json').write_text(text)
    with pytest.raises(InputError, match='not the recipe'):
        make_writer(tmp_path, Draw()).write(SPLITS, progress=False)


def test_foreign_folder_and_file_are_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(InputError, match='not empty'):
        make_writer(tmp_path, Draw()).write(SPLITS, progress=False)
    with pytest.raises(InputError, match=r'notes\.txt'):
        make_writer(tmp_path / 'notes.txt', Draw()).write(SPLITS, progress=False)
    assert read_all(tmp_path) == {'notes.txt': b'mine'}


@pytest.mark.parametrize(
    ('splits', 'workers', 'what'),
    [
        ({}, 1, 'no images'),
        ({'train': 0}, 1, 'train=0'),
        ({'../x': 1}, 1, 'split'),
        ({'annotations': 1}, 1, 'split'),
        ({'train': 1}, 0, 'workers=0'),
    ],
)
def test_wrong_numbers_are_refused(tmp_path, splits, workers, what):
    with pytest.raises(InputError, match=what):
        make_writer(tmp_path, Draw()).write(splits, workers, progress=False)
    assert not list(tmp_path.iterdir())

import cv2
import numpy as np
import pytest

from mmscratch.data import unlabelled_images
from mmscratch.data.unlabelled_images import UnlabelledImagesDataset, check
from mmscratch.errors import InputError

PIPELINE = [dict(type='LoadImageFromFile')]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'photos'
    for number in range(16):
        part = root / ('b' if number % 2 else 'a/c')
        part.mkdir(parents=True, exist_ok=True)
        image = np.full((8 + number, 9, 3), 10 * number, np.uint8)
        cv2.imwrite(str(part / f'{number:02}.{"PNG" if number % 2 else "jpg"}'), image)
    (root / 'notes.txt').write_text('not an image')
    (root / '.thumbnails').mkdir()
    (root / '.thumbnails/00.jpg').write_text('left out')
    (root / 'b/._01.png').write_text('left out')
    return root


def test_images_of_all_folders_in_the_order_of_their_paths(folder):
    dataset = UnlabelledImagesDataset([str(folder)], PIPELINE)
    assert len(dataset) == 16 == check([folder], PIPELINE)
    ids = [dataset.get_data_info(index)['img_id'] for index in range(16)]
    assert ids[:2] == ['photos/a/c/00.jpg', 'photos/a/c/02.jpg']
    assert ids[-1] == 'photos/b/15.PNG'
    assert ids == sorted(ids)
    assert dataset[15]['img'].shape == (23, 9, 3)


def test_several_folders(folder):
    parts = [folder / 'b', folder / 'a']
    dataset = UnlabelledImagesDataset([str(part) for part in parts], PIPELINE)
    assert dataset.get_data_info(0)['img_id'] == 'b/01.PNG'
    assert dataset.get_data_info(8)['img_id'] == 'a/c/00.jpg'
    assert check(parts, PIPELINE) == 16


def test_a_folder_within_another_is_refused(folder):
    with pytest.raises(InputError, match='some images occur twice'):
        check([folder, folder / 'b'], PIPELINE)


def test_broken_images_are_named_in_one_line(folder):
    image = folder / 'b/03.PNG'
    image.write_bytes(image.read_bytes()[:-20])
    (folder / 'a/x.jpg').write_text('text')
    with pytest.raises(InputError) as caught:
        check([folder], PIPELINE)
    text = str(caught.value)
    assert text.startswith('2 of 17 images are broken: ')
    assert f'{folder}/a/x.jpg is not an image' in text
    assert f'{image} is cut short' in text
    assert '\n' not in text


def test_few_images_and_a_missing_folder_are_refused(folder, monkeypatch):
    with pytest.raises(InputError, match=r'photos/b: 8 images, and pre-training takes 16'):
        check([folder / 'b'], PIPELINE)
    with pytest.raises(InputError, match='--images nowhere: no such folder'):
        check([unlabelled_images.Path('nowhere')], PIPELINE)

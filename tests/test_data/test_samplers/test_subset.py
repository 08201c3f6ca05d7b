import json
import os
from collections import Counter

import numpy as np
import pytest
from mmdet.datasets import MultiImageMixDataset

from mmscratch.data.samplers.subset import choose_ids, read_ids, select_subset, sha256_of_ids
from mmscratch.errors import InputError


class Images:
    """The image ids of a data set, in the order of its annotation file."""

    ann_file = 'train.json'

    def __init__(self, ids):
        self.ids = list(ids)

    def __len__(self):
        return len(self.ids)

    def get_data_info(self, index):
        return dict(img_id=self.ids[index])


# From `for i in 1 .. 10: printf "0:$i" | sha256sum`, sorted: 2bef.. is 7, 48f0.. is 4.
def test_the_seed_names_these_images_for_ever():
    assert choose_ids(range(1, 11), 4, seed=0) == [7, 4, 9, 10]
    assert choose_ids(range(1, 11), 4, seed=1) == [7, 4, 8, 6]
    of_coco_size = sha256_of_ids(choose_ids(range(118287), 1000, seed=0))
    assert of_coco_size == '2558224d188a0ba4ee8eb1bd94ab63b03e17d8e447db0a73b31ab1975d471b1d'


# From `printf '10\n2\n7\n' | sha256sum`: sorted as text.
def test_checksum_does_not_depend_on_the_order():
    expected = 'a6f971c0ed2cc300f3ada33f6c01b7ed092103b22931989cc9d3282f7d2997a9'
    assert sha256_of_ids([7, 10, 2]) == sha256_of_ids(['2', '7', '10']) == expected


@pytest.mark.parametrize('seed', [0, 1, 12345])
def test_subsets_of_one_seed_are_nested(seed):
    ids = range(1000, 41000)
    of = {k: set(choose_ids(ids, k, seed)) for k in (1000, 3500, 10000, 35000)}
    assert of[1000] < of[3500] < of[10000] < of[35000]
    assert [len(chosen) for chosen in of.values()] == [1000, 3500, 10000, 35000]


def test_every_image_is_drawn_equally_often_over_seeds():
    drawn = Counter(i for seed in range(2000) for i in choose_ids(range(7), 3, seed))
    # 2000 * 3 / 7 = 857 each; the standard deviation is 22.
    assert sorted(drawn) == list(range(7))
    assert all(abs(times - 857) < 90 for times in drawn.values())


def test_the_order_of_the_annotation_file_does_not_matter():
    ids = list(range(50, 150))
    shuffled = np.random.RandomState(0).permutation(ids).tolist()
    one, other = (select_subset(Images(order), 10, 0) for order in (ids, shuffled))
    assert set(one.ids) == set(other.ids)
    assert one.sha256 == other.sha256
    assert [shuffled[index] for index in other.indices] == other.ids
    assert other.indices.tolist() == sorted(other.indices)


def test_ids_beyond_what_a_double_holds_stay_apart(tmp_path):
    ids = [2**53, 2**53 + 1, 2**63 + 1, 2**63 + 2, 2**70, -(2**60) - 1]
    chosen = select_subset(Images(ids), 3, 0)
    file = tmp_path / 'subset.json'
    file.write_text(json.dumps(dict(ids=chosen.ids, sha256=chosen.sha256)))
    assert select_subset(Images(ids), str(file), 0).ids == chosen.ids


def test_an_image_less_takes_no_other_image_away():
    before = set(choose_ids(range(100), 20, seed=0))
    gone = min(before)
    after = set(choose_ids([i for i in range(100) if i != gone], 20, seed=0))
    assert len(after & before) == 19


def test_none_means_all_images_and_reads_no_annotation():
    chosen = select_subset(range(5), None, 0)
    assert chosen.indices.tolist() == [0, 1, 2, 3, 4]
    assert chosen.ids is chosen.sha256 is chosen.seed is None


def test_all_images_by_number():
    chosen = select_subset(Images([30, 10, 20]), 3, subset_seed=5)
    assert chosen.indices.tolist() == [0, 1, 2]
    assert chosen.ids == [30, 10, 20]
    assert chosen.seed == 5


@pytest.mark.parametrize(
    ('subset', 'message'),
    [
        (0, 'train.json: subset=0, but 3 images are left after its filter: give 1 to 3'),
        (4, 'train.json: subset=4, but 3 images'),
        (-1, 'subset=-1'),
        (True, 'subset=True: give a number'),
        (0.5, 'subset=0.5: give a number'),
    ],
)
def test_impossible_numbers(subset, message):
    with pytest.raises(InputError, match=message):
        select_subset(Images([1, 2, 3]), subset, 0)


@pytest.mark.parametrize('subset', [None, 1])
def test_data_set_without_images(subset):
    with pytest.raises(InputError, match=r'train\.json: no image is left after its filter'):
        select_subset(Images([]), subset, 0)


def test_data_set_with_an_id_twice():
    with pytest.raises(InputError, match=r'train\.json: image id 4 occurs twice'):
        select_subset(Images([4, 5, 4]), 1, 0)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('ids.json', '[30, 10]'),
        ('subset.json', json.dumps(dict(ids=[30, 10], sha256=sha256_of_ids([10, 30])))),
        ('ids.txt', '30\n\n 10 \n'),
    ],
)
def test_ids_from_a_file(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    chosen = select_subset(Images([10, 20, 30]), str(file), subset_seed=9)
    assert chosen.indices.tolist() == [0, 2]
    assert chosen.ids == [10, 30]
    assert chosen.seed is None


def test_ids_that_are_names(tmp_path):
    file = tmp_path / 'ids.txt'
    file.write_text('000005\nwith space\n')
    chosen = select_subset(Images(['with space', '5', '000005']), str(file), 0)
    assert chosen.ids == ['with space', '000005']


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.json', '[1, 2', r'a.json: cannot be read \(Expecting'),
        ('a.json', '{"images": [1]}', 'a.json: holds no image id'),
        ('a.json', '[]', 'a.json: holds no image id'),
        ('a.json', '7', 'a.json: holds no image id'),
        ('a.txt', '\n \n', 'a.txt: holds no image id'),
        ('a.json', '[1, 2.5]', 'a.json: 2.5 is not an image id'),
        ('a.json', '[1, true]', 'a.json: True is not an image id'),
        ('a.json', '[1, 2, 1]', 'a.json: id 1 occurs twice'),
        ('a.txt', '1\n2\n1\n', 'a.txt: id 1 occurs twice'),
        ('a.json', '{"ids": [1, 2], "sha256": "ab"}', 'a.json: the ids do not have its sha256'),
        ('a.json', '[' * 100_000, r'a.json: cannot be read \(maximum recursion depth'),
        ('a.json', '[1, "\\ud800"]', r'a.json: cannot be read \(.*surrogates not allowed'),
        ('a.json', '{"ids": ["\\ud800"], "sha256": "0"}', r'cannot be read \(.*surrogates'),
    ],
)
def test_bad_id_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_ids(str(tmp_path / name))
    assert '\n' not in str(error.value)


def test_missing_id_file(tmp_path):
    with pytest.raises(InputError, match=r'none\.json: cannot be read \(No such file'):
        read_ids(str(tmp_path / 'none.json'))


def test_a_pipe_is_no_id_file(tmp_path):
    os.mkfifo(tmp_path / 'ids.json')
    with pytest.raises(InputError, match='it is no regular file'):
        read_ids(str(tmp_path / 'ids.json'))


def test_unknown_ids(tmp_path):
    file = tmp_path / 'ids.json'
    file.write_text('[2, 17, 18]')
    with pytest.raises(
        InputError, match=r'ids\.json: 2 of 3 ids, first 17, are not in train\.json'
    ):
        select_subset(Images([1, 2, 3]), str(file), 0)


def test_a_data_set_that_mixes_images_has_no_subset():
    """Copy-Paste draws the second image from all."""
    mixed = object.__new__(MultiImageMixDataset)
    vars(mixed).update(num_samples=10, _fully_initialized=True)
    with pytest.raises(InputError, match=r'^subset=3: MultiImageMixDataset .*: leave out subset'):
        select_subset(mixed, 3, 0)
    assert select_subset(mixed, None, 0).ids is None

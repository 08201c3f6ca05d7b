import json
import logging
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from mmscratch.data.samplers import (
    AspectRatioGroupedBatchSampler,
    InfiniteSubsetSampler,
)
from mmscratch.data.samplers.subset import sha256_of_ids
from mmscratch.hooks.subset_record_hook import SubsetRecordHook


class Images:
    """Images 10 to 40: a cat on 10, two on 20, a dog on 30, ignored birds on 40."""

    metainfo = dict(classes=('cat', 'dog', 'bird'))
    boxes = [[(0, 0)], [(0, 0), (0, 0)], [(1, 0)], [(2, 1)]]

    def __len__(self):
        return 4

    def get_data_info(self, index):
        instances = [
            dict(bbox_label=label, ignore_flag=ignore) for label, ignore in self.boxes[index]
        ]
        return dict(img_id=10 + 10 * index, width=4, height=3, instances=instances)


def runner(work_dir, subset, subset_seed=0):
    sampler = InfiniteSubsetSampler(Images(), seed=0, subset=subset, subset_seed=subset_seed)
    return SimpleNamespace(
        train_dataloader=DataLoader(Images(), sampler=sampler, batch_size=2),
        work_dir=str(work_dir),
        logger=logging.getLogger('test_subset_record_hook'),
    )


def ids_file(tmp_path, ids):
    file = tmp_path / 'ids.json'
    file.write_text(json.dumps(ids))
    return str(file)


def test_record(tmp_path):
    SubsetRecordHook().before_train(runner(tmp_path, 3, subset_seed=5))
    record = json.loads((tmp_path / 'subset.json').read_text())
    ids = record.pop('ids')
    assert len(set(ids)) == 3
    assert set(ids) < {10, 20, 30, 40}
    assert record == dict(k=3, num_images=4, subset_seed=5, sha256=sha256_of_ids(ids))
    assert [path.name for path in tmp_path.iterdir()] == ['subset.json']


def test_record_can_be_given_back(tmp_path):
    first = runner(tmp_path, 2, subset_seed=5)
    SubsetRecordHook().before_train(first)
    again = runner(tmp_path, str(tmp_path / 'subset.json'))
    assert (
        again.train_dataloader.sampler.subset.sha256 == first.train_dataloader.sampler.subset.sha256
    )
    SubsetRecordHook().before_train(again)
    record = json.loads((tmp_path / 'subset.json').read_text())
    assert record['subset_seed'] is None
    assert record['ids'] == first.train_dataloader.sampler.subset.ids


@pytest.mark.parametrize(
    ('ids', 'absent'),
    [([10, 20], 'dog, bird'), ([30, 40], 'cat, bird'), ([40], 'cat, dog, bird')],
)
def test_classes_left_without_an_instance_are_named(tmp_path, caplog, ids, absent):
    SubsetRecordHook().before_train(runner(tmp_path, ids_file(tmp_path, ids)))
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f'The subset has no instance of: {absent}']


def test_silent_about_all_images(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    SubsetRecordHook().before_train(runner(tmp_path, None))
    assert not caplog.records
    assert not list(tmp_path.iterdir())


def test_found_behind_a_batch_sampler(tmp_path):
    fake = runner(tmp_path, None)
    sampler = InfiniteSubsetSampler(Images(), seed=0, subset=3)
    batch_sampler = AspectRatioGroupedBatchSampler(sampler, 2)
    fake.train_dataloader = DataLoader(Images(), batch_sampler=batch_sampler)
    SubsetRecordHook().before_train(fake)
    assert json.loads((tmp_path / 'subset.json').read_text())['ids'] == sampler.subset.ids


def test_only_the_main_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr('mmscratch.hooks.subset_record_hook.is_main_process', lambda: False)
    SubsetRecordHook().before_train(runner(tmp_path, 3))
    assert not list(tmp_path.iterdir())

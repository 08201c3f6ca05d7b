import contextlib
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset

import mmscratch.weights.checkpoint  # noqa: F401  (lets mmengine load what it has saved)
from mmscratch.loops import ResumableIterBasedTrainLoop
from mmscratch.samplers import (
    AspectRatioGroupedBatchSampler,
    FiniteSubsetSampler,
    InfiniteSubsetSampler,
)

keyed_batches = ResumableIterBasedTrainLoop.keyed_batches


class Images(Dataset):
    """Noisy numbers; every load leaves its index in a file, from whichever process."""

    metainfo = dict(classes=('number',))

    def __init__(self, size, loads):
        self.size = size
        self.loads = loads

    def __len__(self):
        return self.size

    def get_data_info(self, index):
        return dict(img_id=index, width=40 - 20 * (index % 2), height=30)

    def __getitem__(self, index):
        with open(self.loads, 'a') as file:
            file.write(f'{index}\n')
        return dict(index=torch.tensor(index), noise=torch.tensor(np.random.rand()))


class Recorder(BaseModel):
    """Remembers what it was trained on; its loss draws random numbers, as an RPN does."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, index, noise, mode='tensor'):
        draw = torch.rand(())
        self.seen.append((index.tolist(), noise.tolist(), float(draw)))
        return dict(loss=(self.weight * (index.sum() / 100 + noise.sum() + draw)).sum())


SAMPLERS = {
    'infinite': dict(type=InfiniteSubsetSampler, subset=11),
    'epochs': dict(type=FiniteSubsetSampler, subset=11),
    'mmengine': dict(type=InfiniteSampler),
}


def run(work_dir, iters, *, workers=0, resume_at=0, seed=3, sampler='infinite', **loader):
    """Train; the runner, and which images were loaded."""
    loads = Path(work_dir) / f'loads_{iters}_{resume_at}'
    runner = Runner(
        model=Recorder(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Images(20, str(loads)),
            sampler=SAMPLERS[sampler],
            batch_size=2,
            num_workers=workers,
            collate_fn=dict(type='default_collate'),
            **loader,
        ),
        train_cfg=dict(type=ResumableIterBasedTrainLoop, max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=5, by_epoch=False)),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=seed),
        default_scope='mmengine',
        experiment_name=str(loads),
        load_from=str(Path(work_dir) / f'iter_{resume_at}.pth') if resume_at else None,
        resume=bool(resume_at),
    )
    runner.train()
    return runner, [int(line) for line in loads.read_text().split()]


@pytest.mark.parametrize('sampler', SAMPLERS)
@pytest.mark.parametrize(
    ('workers', 'loader'), [(0, {}), (2, dict(persistent_workers=True, prefetch_factor=3))]
)
def test_resumed_run_is_the_straight_run(tmp_path, sampler, workers, loader):
    arguments = dict(workers=workers, sampler=sampler, **loader)
    straight, loaded = run(tmp_path / '1', 8, **arguments)
    run(tmp_path / '2', 5, **arguments)
    resumed, loaded_after = run(tmp_path / '2', 8, resume_at=5, **arguments)
    assert resumed.model.seen == straight.model.seen[5:]
    assert torch.equal(resumed.model.weight, straight.model.weight)
    assert resumed.iter == 8
    if workers == 0:
        assert loaded_after == loaded[10:]


@pytest.fixture(scope='module')
def straight_run(tmp_path_factory):
    """Eight iterations without workers, and the folder that holds the checkpoint of the fifth."""
    work_dir = tmp_path_factory.mktemp('straight')
    return run(work_dir, 8)[0].model.seen, work_dir


def test_workers_change_nothing(straight_run, tmp_path):
    assert run(tmp_path, 8, workers=2)[0].model.seen == straight_run[0]


def test_no_past_image_is_loaded(straight_run):
    _, work_dir = straight_run
    sampler = InfiniteSubsetSampler(Images(20, ''), seed=3, subset=11)
    # Two workers have loaded at most 2 x 2 batches ahead when the 3rd one is trained on.
    future = list(islice(sampler, 10, 10 + 2 * (3 + 4)))
    _, loaded = run(work_dir, 8, workers=2, resume_at=5)
    assert set(future[:6]) <= set(loaded)
    assert sorted(loaded) == sorted(future[: len(loaded)])


def test_an_unseeded_run_resumes_in_its_own_order(tmp_path):
    """Without a seed in the config mmengine draws one; on resume the sampler has to follow it."""
    first, _ = run(tmp_path, 5, seed=None)
    resumed, _ = run(tmp_path, 8, seed=None, resume_at=5)
    sampler = InfiniteSubsetSampler(Images(20, ''), seed=first.seed, subset=11)
    order = [i for indices, _, _ in first.model.seen + resumed.model.seen for i in indices]
    assert order == list(islice(sampler, 16))


def test_constructor_starts_no_worker(tmp_path, monkeypatch):
    started = []
    get_iterator = DataLoader._get_iterator

    def spy(loader):
        started.append(loader.num_workers)
        return get_iterator(loader)

    monkeypatch.setattr(DataLoader, '_get_iterator', spy)
    runner = Runner(
        model=Recorder(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Images(20, str(tmp_path / 'loads')),
            sampler=SAMPLERS['infinite'],
            batch_size=2,
            num_workers=2,
        ),
        train_cfg=dict(type=ResumableIterBasedTrainLoop, max_iters=3, val_interval=7),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_scope='mmengine',
    )
    loop = runner.train_loop
    assert not any(started)
    assert runner.train_dataloader.num_workers == 2
    assert (loop.max_iters, loop.val_interval, loop.iter, loop.epoch) == (3, 7, 0, 0)


@pytest.mark.parametrize('fails', [False, True])
def test_workers_end_with_the_training(tmp_path, monkeypatch, fails):
    workers = []
    get_iterator = DataLoader._get_iterator

    def spy(loader):
        iterator = get_iterator(loader)
        workers.extend(getattr(iterator, '_workers', []))
        return iterator

    def forward(self, index, noise, mode='tensor'):
        assert [worker.is_alive() for worker in workers] == [True, True]
        if fails:
            raise FloatingPointError('loss is NaN')
        return dict(loss=self.weight.sum())

    monkeypatch.setattr(DataLoader, '_get_iterator', spy)
    monkeypatch.setattr(Recorder, 'forward', forward)
    outcome = pytest.raises(FloatingPointError) if fails else contextlib.nullcontext()
    with outcome:
        run(tmp_path, 2, workers=2, persistent_workers=True)
    for worker in workers:
        worker.join(60)  # a busy machine may take a while to end one
    assert [worker.is_alive() for worker in workers] == [False, False]


# 5 images in pairs, an epoch of 3 batches; past = 4 begins with the 2nd batch of epoch 1.
@pytest.mark.parametrize('past', [0, 1, 3, 4, 7])
def test_epochs_are_counted_in_the_past_too(past):
    images = Images(5, '')

    def batches(past):
        sampler = DefaultSampler(images, seed=0)
        batch_sampler = BatchSampler(sampler, 2, drop_last=False)
        return list(islice(keyed_batches(batch_sampler, past, 1), 9 - past))

    sampler = DefaultSampler(images, seed=0)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = list(sampler)
        expected += [order[:2], order[2:4], order[4:]]
    steps = [[(index, step) for index in batch] for step, batch in enumerate(expected)]
    assert batches(past) == steps[past:]


def test_no_batch_is_an_error_not_an_endless_loop():
    batch_sampler = BatchSampler(DefaultSampler(Images(1, ''), seed=0), 2, drop_last=True)
    with pytest.raises(ValueError, match='yields no batch'):
        next(keyed_batches(batch_sampler, 0, 1))


@pytest.mark.parametrize('batch_sampler', [BatchSampler, AspectRatioGroupedBatchSampler])
@pytest.mark.parametrize('world_size', [2, 4])
def test_gpus_and_accumulation_see_the_same_images_with_the_same_augmentation(
    batch_sampler, world_size
):
    """Steps of 8 images: 1 x 2 x 4 against 2 x 2 x 2 and 4 x 2 x 1."""

    def keys(rank, world_size, count):
        sampler = InfiniteSubsetSampler(Images(20, ''), seed=3, subset=11)
        sampler.rank, sampler.world_size = rank, world_size
        batches = keyed_batches(batch_sampler(sampler, 2, False), 0, 4 // world_size)
        return [key for batch in islice(batches, count // 2) for key in batch]

    together = [keys(rank, world_size, 160 // world_size) for rank in range(world_size)]
    assert sorted(chain(*together)) == sorted(keys(0, 1, 160))

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import chain, islice, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmscratch.config.work_dir import saved_checkpoints
from mmscratch.data.samplers import (
    AspectRatioGroupedBatchSampler,
    FiniteSubsetSampler,
    InfiniteSubsetSampler,
)
from mmscratch.data.seeded_dataset import current_step
from mmscratch.errors import InputError
from mmscratch.hooks import MeanOverRanksHook, SafeCheckpointHook
from mmscratch.loops import ResumableIterBasedTrainLoop
from mmscratch.weights import checkpoint

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
        # two objects are of a rare class
        objects = [dict(bbox_label=label) for label in (0, index in (4, 7))]
        return dict(img_id=index, width=40 - 20 * (index % 2), height=30, instances=objects)

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


class MeanRecorder(Recorder):
    """Its loss is a mean over images, and draws nothing."""

    def forward(self, index, noise, mode='tensor'):
        self.seen.append((index.tolist(), noise.tolist()))
        return dict(loss=(self.weight**2 * (index / 10 + noise)).mean())


SAMPLERS = {
    'infinite': dict(type=InfiniteSubsetSampler, subset=11),
    'repeats': dict(type=InfiniteSubsetSampler, subset=11, repeat_threshold=0.9),
    'repeated epochs': dict(type=FiniteSubsetSampler, subset=11, repeat_threshold=0.9),
    'epochs': dict(type=FiniteSubsetSampler, subset=11),
    'mmengine': dict(type=InfiniteSampler),
}


def run(
    work_dir,
    iters,
    *,
    workers=0,
    resume_at=0,
    seed=3,
    sampler='infinite',
    accumulation=1,
    batch_size=2,
    hooks=(),
    model=Recorder,
    options=None,
    images=Images,
    **loader,
):
    """Train; the runner, and which images were loaded."""
    train_cfg = dict(type=ResumableIterBasedTrainLoop, max_iters=iters, accumulation=accumulation)
    loads = Path(work_dir) / f'loads_{iters}_{resume_at}'
    runner = Runner(
        model=model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=images(20, str(loads)),
            sampler=SAMPLERS[sampler],
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=dict(type='default_collate'),
            **loader,
        ),
        train_cfg=train_cfg,
        custom_hooks=list(hooks),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type=SafeCheckpointHook, interval=5, by_epoch=False)),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=seed),
        default_scope='mmengine',
        experiment_name=str(loads),
        load_from=str(Path(work_dir) / f'iter_{resume_at}.pth') if resume_at else None,
        resume=bool(resume_at),
        **(options or {}),
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
    # a worker may be ahead of the other when training ends
    assert Counter(loaded) <= Counter(future)


class Broken(Images):
    """The images of the seventh step cannot be loaded."""

    def __getitem__(self, index):
        if current_step.get() == 6:
            raise OSError('is cut short')
        return super().__getitem__(index)


class Killing(Images):
    """The system kills the worker that loads the seventh step."""

    def __getitem__(self, index):
        if current_step.get() == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ('images', 'told'), [(Broken, 'is cut short'), (Killing, r'DataLoader worker \(pid')]
)
def test_steps_before_a_fault_of_the_data_are_not_lost(straight_run, tmp_path, images, told):
    with pytest.raises((OSError, RuntimeError), match=told):
        run(tmp_path, 8, workers=2, images=images)
    number = int(saved_checkpoints(tmp_path)[0].stem.removeprefix('iter_'))
    assert number == 6 or images is Killing  # which happens while earlier steps are trained
    resumed, _ = run(tmp_path, 8, resume_at=number)
    assert resumed.model.seen == straight_run[0][number:]


def test_nor_are_they_where_a_later_pass_of_a_step_meets_the_fault(tmp_path):
    class SecondBroken(Images):
        """The second batch of the third step cannot be loaded."""

        loaded = 0

        def __getitem__(self, index):
            self.loaded += current_step.get() == 2
            if self.loaded > 1:
                raise OSError('is cut short')
            return super().__getitem__(index)

    with pytest.raises(OSError, match='is cut short'):
        run(tmp_path, 8, accumulation=4, batch_size=1, images=SecondBroken)
    assert [file.name for file in saved_checkpoints(tmp_path)] == ['iter_2.pth']


def test_a_checkpoint_from_behind_the_end_is_refused(straight_run, tmp_path):
    state = checkpoint.load(straight_run[1] / 'iter_5.pth')
    state['meta']['iter'] = 10**9
    torch.save(state, tmp_path / f'iter_{10**9}.pth')
    with pytest.raises(InputError, match=r'is of iteration 1,000,000,000, .* ends at 8'):
        run(tmp_path, 8, resume_at=10**9)


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
        return list(islice(keyed_batches(batch_sampler, past, 1, 0, 1), 9 - past))

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
        next(keyed_batches(batch_sampler, 0, 1, 0, 1))


def sequence(batch_sampler: type, batch_size: int = 2) -> BatchSampler:
    sampler = InfiniteSubsetSampler(Images(20, ''), seed=3, subset=11)
    return batch_sampler(sampler, batch_size, *([False] if batch_sampler is BatchSampler else []))


@pytest.mark.parametrize('batch_sampler', [BatchSampler, AspectRatioGroupedBatchSampler])
@pytest.mark.parametrize(('world_size', 'accumulation'), [(1, 4), (2, 2), (4, 1), (2, 1), (1, 1)])
@pytest.mark.parametrize('past', [0, 7])
def test_the_batches_of_a_step_are_the_same_in_any_split(
    batch_sampler, world_size, accumulation, past
):
    size = world_size * accumulation
    whole = list(islice(sequence(batch_sampler), 20 * size))
    ranks = [
        keyed_batches(sequence(batch_sampler), past, accumulation, rank, world_size)
        for rank in range(world_size)
    ]
    for step in range(past, 20):
        passes = [[next(batches) for batches in ranks] for _ in range(accumulation)]
        expected = whole[step * size : (step + 1) * size]
        assert list(chain(*passes)) == [[(index, step) for index in b] for b in expected]


@pytest.mark.parametrize(('batch_size', 'accumulation'), [(1, 8), (4, 2), (8, 1)])
def test_the_images_of_a_step_are_the_same_in_any_batches(batch_size, accumulation):
    def keys(batch_size, accumulation):
        batches = keyed_batches(sequence(BatchSampler, batch_size), 0, accumulation, 0, 1)
        return list(chain(*islice(batches, 20 * accumulation)))

    assert keys(batch_size, accumulation) == keys(2, 4)


def in_passes(work_dir, accumulation, **arguments):
    """Train in steps of 4 images, and return the runner."""
    return run(work_dir, accumulation=accumulation, batch_size=4 // accumulation, **arguments)[0]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_step_of_several_passes_is_resumed_exactly(tmp_path, workers):
    straight = in_passes(tmp_path / '1', 2, iters=8, workers=workers)
    in_passes(tmp_path / '2', 2, iters=5, workers=workers)
    resumed = in_passes(tmp_path / '2', 2, iters=8, resume_at=5, workers=workers)
    assert resumed.model.seen == straight.model.seen[2 * 5 :]
    assert torch.equal(resumed.model.weight, straight.model.weight)
    assert (resumed.iter, resumed.max_iters) == (8, 8)


class Watcher(Hook):
    """What hooks see of an iteration."""

    def __init__(self):
        self.before, self.after, self.losses, self.rates = [], [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before.append((batch_idx, runner.iter, data_batch['index'].tolist()))
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.after.append([int(index) for index in data_batch['index']])
        self.losses.append(outputs['loss'].item())


@pytest.mark.parametrize(('first', 'second'), list(permutations([1, 2, 4], 2)))
def test_a_run_goes_on_in_other_passes(tmp_path, first, second):
    """The images of each step and their augmentation stay, losses to the order of sums."""
    whole, rest = Watcher(), Watcher()
    straight = in_passes(tmp_path / '1', first, iters=8, model=MeanRecorder, hooks=[whole])
    in_passes(tmp_path / '2', first, iters=5, model=MeanRecorder)
    resumed = in_passes(
        tmp_path / '2', second, iters=8, resume_at=5, model=MeanRecorder, hooks=[rest]
    )
    assert len(resumed.model.seen) == second * 3
    for part in (0, 1):  # indices, noise
        expected, images = (
            list(chain(*(batch[part] for batch in seen)))
            for seen in (straight.model.seen[first * 5 :], resumed.model.seen)
        )
        assert images == expected
    assert rest.losses == pytest.approx(whole.losses[5:], rel=1e-6)
    assert resumed.model.weight.item() == pytest.approx(straight.model.weight.item(), rel=1e-6)


def test_one_step_of_two_passes_by_hand(tmp_path):
    """loss = weight * x, weight 1, lr 0.01: the gradient is the mean of x over the passes."""
    watcher = Watcher()
    runner = in_passes(tmp_path, 2, iters=2, hooks=[watcher])
    seen = runner.model.seen
    x = [sum(indices) / 100 + sum(noise) + draw for indices, noise, draw in seen]
    first = 1 - 0.01 * (x[0] + x[1]) / 2
    assert watcher.losses == pytest.approx([(x[0] + x[1]) / 2, first * (x[2] + x[3]) / 2])
    assert runner.model.weight.item() == pytest.approx(first - 0.01 * (x[2] + x[3]) / 2)
    indices = [indices for indices, *_ in seen]
    assert watcher.before == [(0, 0, indices[0]), (1, 1, indices[2])]
    assert watcher.after == [indices[0] + indices[1], indices[2] + indices[3]]


def test_schedules_and_checkpoints_count_steps(tmp_path):
    watcher = Watcher()
    drop = dict(type='MultiStepLR', by_epoch=False, milestones=[5], gamma=0.1)
    in_passes(tmp_path, 4, iters=12, hooks=[watcher], options=dict(param_scheduler=drop))
    assert watcher.rates == pytest.approx([0.01] * 5 + [0.001] * 7)
    assert {file.name for file in tmp_path.glob('*.pth')} == {f'iter_{i}.pth' for i in (5, 10, 12)}
    (log,) = tmp_path.glob('*/*.log')
    assert 'Iter(train) [10/12]' in log.read_text()


def train_as(rank, work_dir, arguments):
    """Train as one of two processes; rank 0 writes the losses of each step."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{work_dir}/store', rank=rank, world_size=2
    )
    watcher = Watcher()
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    run(
        work_dir,
        batch_size=1,
        hooks=[MeanOverRanksHook(), watcher],
        options=dict(launcher='pytorch', cfg=dict(model_wrapper_cfg=wrapper, launcher='pytorch')),
        **arguments,
    )
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    if rank == 0:
        (work_dir / 'losses.json').write_text(json.dumps(watcher.losses))


def in_two_processes(work_dir, **arguments):
    """The losses of each step, which a process group of two trains."""
    work_dir.mkdir(exist_ok=True)
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(work_dir), json.dumps(arguments)],
            env=os.environ | dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2'),
        )
        for rank in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    return json.loads((work_dir / 'losses.json').read_text())


def test_a_run_goes_on_in_other_processes(tmp_path):
    """Steps of 4 images: 1 process x 4 passes, and 2 processes x 2 passes, which draw alike."""
    whole, rest = Watcher(), Watcher()
    run(tmp_path / '1', 8, accumulation=4, batch_size=1, hooks=[whole])
    assert in_two_processes(tmp_path / '2', accumulation=2, iters=8) == pytest.approx(whole.losses)
    run(tmp_path / '2', 8, accumulation=4, batch_size=1, hooks=[rest], resume_at=5)
    assert rest.losses == pytest.approx(whole.losses[5:])
    losses = in_two_processes(tmp_path / '1', accumulation=2, iters=8, resume_at=5)
    assert losses == pytest.approx(whole.losses[5:])


if __name__ == '__main__':
    train_as(int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))

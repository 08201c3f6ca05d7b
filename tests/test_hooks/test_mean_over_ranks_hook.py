"""Two processes that have computed different things."""

import math
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import distributed, multiprocessing, nn

import mmscratch  # noqa: F401
from mmscratch.hooks.mean_over_ranks_hook import MeanOverRanksHook


def on_rank(rank: int, folder: Path) -> None:
    """Numbers and buffers that are the rank's; what the hook makes of them goes to a file."""
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    model = nn.BatchNorm2d(3)
    model.running_mean.fill_(rank + 1)
    model.num_batches_tracked.fill_(rank + 5)
    outputs = dict(loss=torch.tensor(2.0 * rank), accuracy=torch.tensor([float(rank)]))
    # which FiniteLossHook has to see on every rank
    outputs['diverged'] = torch.tensor(math.nan if rank else 1.0)
    runner = SimpleNamespace(model=model)
    hook = MeanOverRanksHook()
    hook.after_train_iter(runner, 0, outputs=outputs)
    hook.before_val_epoch(runner)
    torch.save({**outputs, **model.state_dict()}, folder / f'{rank}.pth')
    distributed.destroy_process_group()


def test_numbers_are_averaged_and_buffers_those_of_rank_0(tmp_path):
    multiprocessing.spawn(on_rank, (tmp_path,), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f'{rank}.pth')
        assert (float(found['loss']), float(found['accuracy'])) == (1.0, 0.5)
        assert math.isnan(found['diverged'])
        assert found['running_mean'].tolist() == [1.0] * 3
        assert int(found['num_batches_tracked']) == 5


def test_one_process_keeps_its_own():
    model = nn.BatchNorm2d(3)
    outputs = dict(loss=torch.tensor(2.0))
    hook = MeanOverRanksHook()
    hook.after_train_iter(SimpleNamespace(model=model), 0, outputs=outputs)
    hook.before_val_epoch(SimpleNamespace(model=model))
    assert float(outputs['loss']) == 2.0

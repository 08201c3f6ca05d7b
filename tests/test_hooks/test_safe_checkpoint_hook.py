"""What is on the disk when a save fails, and when a run is asked to stop."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from mmscratch.errors import InputError
from mmscratch.hooks import SafeCheckpointHook
from mmscratch.process import stop_signals
from mmscratch.weights import checkpoint
from mmscratch.weights.resumption import newest_whole


class RisingMetric(BaseMetric):
    """Each validation is the best one."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.n = getattr(self, 'n', 0) + 1
        return {'n': self.n}


class Signal(Hook):
    """Sends its own process a signal, at a point of an iteration."""

    def __init__(self, point: str, iteration: int, number: int = signal.SIGTERM):
        self.iteration, self.number = iteration, number
        setattr(self, point, self._send)

    def _send(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def saving(make_runner):
    """Return a function that makes a runner of two iterations, whose CheckpointHook has options."""

    def make(*hooks, resume=None, **options):
        saver = dict(type=SafeCheckpointHook, by_epoch=False, **options)
        rest = dict(resume=True, load_from=str(resume)) if resume else {}
        return make_runner(
            *hooks,
            default_hooks=dict(checkpoint=saver),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=1),
            val_evaluator=Evaluator(RisingMetric()),
            **rest,
        )

    return make


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize('failing', [1, 2, 3, 4, 5])
def test_a_full_disk_costs_no_checkpoint(saving, tmp_path, monkeypatch, failing):
    """Saved are: iter_1, best 1, iter_1 again, iter_2, best 2, iter_2 again."""
    count = 0
    replace = Path.replace

    def full(file, target):
        nonlocal count
        count += str(target).endswith('.pth')
        if count == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(file, target)

    monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(InputError, match=r'\.pth: cannot be written \(No space left.* MiB'):
        saving(interval=1, max_keep_ckpts=1, save_best='n', rule='greater').train()
    run = tmp_path / 'run'
    expected = [
        set(),
        {'iter_1.pth'},
        {'iter_1.pth', 'best_n_iter_1.pth'},
        {'iter_1.pth', 'best_n_iter_1.pth'},
        {'iter_2.pth', 'best_n_iter_1.pth'},
    ][failing - 1]
    assert {name for name in names(run) if 'pth' in name} == expected
    for name in expected:
        checkpoint.load(run / name)


def test_older_checkpoints_are_removed_after_newer_ones(saving, tmp_path):
    saving(interval=1, max_keep_ckpts=1, save_best='n', rule='greater').train()
    saved = {name for name in names(tmp_path / 'run') if 'pth' in name}
    assert saved == {'iter_2.pth', 'best_n_iter_2.pth'}


@pytest.mark.parametrize(
    ('point', 'at', 'saved'),
    [('before_train_iter', 0, 1), ('after_train_iter', 0, 1), ('before_val_epoch', 1, 1)],
)
def test_a_signal_lets_the_step_finish_and_saves_it(saving, tmp_path, point, at, saved):
    """The run that goes on ends as the straight one."""
    with stop_signals.handled(), pytest.raises(stop_signals.Stopped) as stopped:
        saving(Signal(point, at, signal.SIGUSR1), interval=5).train()
    file = tmp_path / f'run/iter_{saved}.pth'
    assert str(stopped.value) == (
        f'stopped (SIGUSR1); iteration {saved} is saved: --resume goes on from {file}'
    )
    assert (tmp_path / 'run/last_checkpoint').read_text() == str(file)
    resumed, straight = saving(interval=5, resume=file), saving(interval=5)
    resumed.train()
    straight.train()
    assert resumed.iter == 2
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_a_run_that_goes_back_does_not_return_to_later_checkpoints(saving, tmp_path, log_of):
    """It is killed before it saves."""

    class Killed(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            raise KeyboardInterrupt

    run = tmp_path / 'run'
    saving(interval=1).train()
    killed = saving(Killed(), interval=1, resume=run / 'iter_1.pth')
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert 'the later ones are now iter_2.pth.abandoned' in log_of(killed)
    assert newest_whole(run) == (run / 'iter_1.pth', '')
    # another folder's run is left alone
    saving(interval=1, resume=run / 'iter_1.pth', out_dir=str(tmp_path / 'out')).train()
    assert {name for name in names(run) if 'pth' in name} == {'iter_1.pth', 'iter_2.pth.abandoned'}


def test_a_signal_ends_a_run_that_cannot_save_at_once(saving, tmp_path):
    with stop_signals.handled(), pytest.raises(KeyboardInterrupt) as ended:
        saving(Signal('before_train_iter', 0), interval=-1, save_last=False).train()
    assert not isinstance(ended.value, stop_signals.Stopped)


def test_a_removed_folder_is_told(saving, tmp_path):
    class Removing(Hook):
        priority = 'LOW'

        def after_train_iter(self, runner, *args, **kwargs):
            (tmp_path / 'run').rename(tmp_path / 'away')

    with pytest.raises(InputError, match=r'run: was removed under its run'):
        saving(Removing(), interval=1).train()
    assert not list((tmp_path / 'away').glob('*.pth'))


def test_it_takes_the_place_of_mmengines_in_every_config():
    from mmdet.registry import HOOKS

    assert HOOKS.get('CheckpointHook') is SafeCheckpointHook


def test_the_history_of_logged_numbers_is_bounded(make_runner, tmp_path, monkeypatch):
    monkeypatch.setattr('mmscratch.hooks.safe_checkpoint_hook.HISTORY', 3)
    saver = dict(type=SafeCheckpointHook, by_epoch=False, interval=2)
    loop = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=8)
    make_runner(default_hooks=dict(checkpoint=saver), train_cfg=loop).train()
    sizes = []
    for number in (2, 4, 6, 8):
        content = checkpoint.load(tmp_path / f'run/iter_{number}.pth')
        sizes.append(len(content['message_hub']['log_scalars']['train/loss'].data[0]))
    assert sizes == [2, 3, 3, 3]

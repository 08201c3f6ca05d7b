import subprocess
import sys

import torch.distributed

from mmscratch.hooks.rank_watch_hook import Watch


def test_beats_are_missed_of_who_is_silent_alone():
    store = torch.distributed.HashStore()
    first, second = (Watch(store, rank, 3) for rank in (0, 2))
    for _ in range(4):
        second.beat()
        missed = first.beat()
    # the one between has never been heard of
    assert missed == {1: 4, 2: 0}
    assert second.beat() == {0: 0, 1: 5}
    assert [first.beat() for _ in range(3)][-1] == {1: 7, 2: 2}
    second.beat()
    assert first.beat() == {1: 8, 2: 0}


SCRIPT = """
import os, signal, sys, threading, time
from types import SimpleNamespace
import torch.distributed as dist
from mmscratch.hooks import rank_watch_hook
rank = int(sys.argv[1])
dist.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=rank, world_size=2)
rank_watch_hook.BEAT_SECONDS = 0.1
hook = rank_watch_hook.RankWatchHook(silence=1.0)
if sys.argv[3:] and rank == 0:
    hook.after_load_checkpoint(None, dict(meta=dict(tensors_sha256='0123456789abcdef')))
hook.before_train(SimpleNamespace(iter=int(rank == 0 and bool(sys.argv[3:])) * 9000))
if rank == 1:
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGSTOP)
dist.barrier()
"""


def test_processes_that_begin_elsewhere_are_told(tmp_path):
    """As without the checkpoint on the second machine."""
    command = [sys.executable, '-c', SCRIPT]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / 'store'), 'resumed'],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        assert (
            process.communicate(timeout=300)[1]
            .rstrip()
            .endswith(
                'InputError: rank 1 begins at iteration 0 with no checkpoint, and '
                'rank 0 at 9,000 with 0123456789ab: give all machines the same files in '
                '--work-dir, --resume and --init'
            )
        )


def test_a_stopped_process_is_named_and_ends_the_run(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', SCRIPT, str(rank), str(tmp_path / 'store')],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        told = processes[0].communicate(timeout=300)[1]
    finally:
        processes[1].kill()
        processes[1].communicate()
    assert processes[0].returncode == 2
    assert told.splitlines()[-1].startswith('error: rank 1 has been silent for 1 s')

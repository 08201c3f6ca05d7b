"""Name the process of a distributed run that is silent, or begins elsewhere, and end the run."""

import os
import sys
import threading

import torch.distributed
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed import PrefixStore, Store
from torch.distributed.distributed_c10d import _get_default_store

from mmscratch.errors import InputError
from mmscratch.weights.checkpoint import HASH, hash_of_tensors

BEAT_SECONDS = 5.0


class RankWatchHook(Hook):
    """End a distributed run with a line if one of its processes is not heard of.

    The others would wait for it until the library's limit, half an hour, and not say for which. So
    a thread of each process tells the others that it is there. It falls silent when its process is
    stopped, swapped out, locked in a call, or on a machine that is gone. A process that waits for
    others is not silent. The library's limit is for the rest.

    Before that it compares what the processes have loaded. On a machine without the checkpoint they
    would begin at iteration 0, and wait for the others for ever.

    ``tools/train.py`` adds the hook to every run.

    Args:
        silence: seconds. Long calls, such as the reading of a JSON, make a process silent too.
    """

    # before hooks that talk to other processes at iteration 0 alone
    priority = 'HIGHEST'

    def __init__(self, silence: float = 300.0) -> None:
        self.silence = silence
        self._is_over = threading.Event()
        self._sha256 = ''

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights are loaded."""
        if get_world_size() > 1:
            meta = checkpoint.get('meta') or {}
            self._sha256 = meta.get(HASH) or hash_of_tensors(checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Compare what is loaded, and start the thread.

        Raises:
            InputError: another process has loaded something else; all of them raise it.
        """
        if get_world_size() > 1:
            begins = all_gather_object((runner.iter, self._sha256))
            for rank, (iteration, sha256) in enumerate(begins):
                if begins[0] != (iteration, sha256):
                    raise InputError(
                        f'rank {rank} begins at iteration {iteration:,} with '
                        f'{sha256[:12] or "no checkpoint"}, and rank 0 at {begins[0][0]:,} with '
                        f'{begins[0][1][:12] or "no checkpoint"}: give all machines the same files '
                        'in --work-dir, --resume and --init'
                    )
            store = PrefixStore('beats', _get_default_store())
            watch = Watch(store, get_rank(), get_world_size())
            threading.Thread(target=self._run, args=(watch,), daemon=True).start()

    def after_train(self, runner: Runner) -> None:
        """Stop it: the processes end one after the other."""
        if get_world_size() > 1:
            torch.distributed.barrier()
            self._is_over.set()

    def _run(self, watch: 'Watch') -> None:
        # the first process speaks for all
        most = self.silence / BEAT_SECONDS + 2 * watch.rank
        while not self._is_over.wait(BEAT_SECONDS):
            try:
                missed = watch.beat()
            except RuntimeError:  # the store's process has ended, which the next collective tells
                return
            for rank, beats in missed.items():
                if beats > most:
                    print(
                        f'error: rank {rank} has been silent for {beats * BEAT_SECONDS:.0f} s, and '
                        'the others wait for it: look at its machine, then go on from the last '
                        'checkpoint with --resume',
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(2)


class Watch:
    """What a process knows of the others.

    It counts in beats of its own, since all may be paused together.

    Args:
        store: what they share.
        rank: of this process.
        size: number of processes.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self.store = store
        self.rank = rank
        self._beats = 0
        self._heard = {str(other): b'' for other in range(size) if other != rank}
        self._missed = dict.fromkeys(self._heard, 0)

    def beat(self) -> dict[int, int]:
        """Tell the others that this process is there; beats since each of them has said so."""
        self._beats += 1
        self.store.set(str(self.rank), str(self._beats))
        for other, before in self._heard.items():
            now = self.store.get(other) if self.store.check([other]) else b''
            self._heard[other] = now
            self._missed[other] = 0 if now != before else self._missed[other] + 1
        return {int(other): beats for other, beats in self._missed.items()}

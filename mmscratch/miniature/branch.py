"""A schedule's tail, branched off from the checkpoint of a longer run.

The learning rate is constant until its first drop, so schedules of all lengths begin alike: one
trunk is trained at the constant rate, and each length is its beginning and a tail of its own.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from mmscratch import checkpoint
from mmscratch.errors import InputError


def write_branch(trunk: Path, out: Path, milestones: Sequence[int], end: int) -> None:
    """Write the checkpoint ``trunk`` with the drops and the end of another schedule.

    Resumed, it is what a run of that schedule would have saved at this iteration: mmengine takes
    drops from the checkpoint, not from the config.

    Raises:
        InputError: a drop that the trunk has come to already, or no schedule with drops.
    """
    state = checkpoint.load(str(trunk))
    iteration = state['meta']['iter']
    if min(milestones) <= iteration:
        raise InputError(
            f'{trunk}: is at iteration {iteration}, the first drop at {min(milestones)} comes too '
            'early; branch from an earlier checkpoint'
        )
    stepped = [part for part in state['param_schedulers'] if 'milestones' in part]
    if len(stepped) != 1:
        raise InputError(f'{trunk}: has {len(stepped)} schedules with drops; one can be branched')
    stepped[0].update(milestones=Counter(milestones), end=end)
    unfinished = out.with_suffix('.tmp')
    torch.save(state, unfinished)
    unfinished.replace(out)

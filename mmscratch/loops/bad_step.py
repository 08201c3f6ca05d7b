"""A training step that broke, in a file: weights, images and random numbers of it.

The file is a checkpoint without an optimizer, with the entry ``bad_step``. It is loaded like all
checkpoints: with ``weights_only``, and the few classes of MMDetection that a batch consists of.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dist import all_gather_object, is_main_process
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmscratch.config import work_dir
from mmscratch.data.late_masks import Cut, LateMasks
from mmscratch.errors import InputError
from mmscratch.loops.runner_state import bare_model
from mmscratch.weights import checkpoint

# not .pth, which would be one of the run's checkpoints
NAME = 'bad_step.pt'
_FORM = dict(iteration=int, seed=int, accumulation=int, threads=int, losses=dict, batches=list)
_BATCH = [DetDataSample, InstanceData, HorizontalBoxes, BitmapMasks, PolygonMasks, LateMasks, Cut]
_BATCH += [type(np.dtype(name)) for name in ('bool', 'uint8', 'int32')]


def save(runner: Runner, batch: Any, losses: Mapping[str, float]) -> Path:
    """Write the current step of all processes into the work directory.

    Its size is that of the weights and of the images of the step.

    Args:
        runner: whose model has the weights of before the step.
        batch: of this process, all passes of the step.
        losses: by name, as the run has logged them.

    Raises:
        InputError: it cannot be written.
    """
    file = Path(runner.work_dir) / NAME
    batches = all_gather_object(batch)
    if is_main_process():
        step = dict(
            iteration=runner.iter,
            seed=runner.seed,
            accumulation=getattr(runner.train_loop, 'accumulation', 1),
            losses=dict(losses),
            threads=torch.get_num_threads(),
            batches=batches,
        )
        content = dict(
            meta=dict(cfg=runner.cfg.pretty_text, iter=runner.iter),
            state_dict=bare_model(runner).state_dict(),
            bad_step=step,
        )
        content['meta'][checkpoint.HASH] = checkpoint.hash_of_tensors(content)
        written = io.BytesIO()
        torch.save(content, written)
        work_dir.write(file, written.getvalue())
    return file


def load(file: Path) -> dict[str, Any]:
    """Load what :func:`save` has written.

    Raises:
        InputError: the file is damaged, or is something else.
    """
    with torch.serialization.safe_globals(_BATCH):
        content = checkpoint.load(file)
    step = content.get('bad_step')
    if not isinstance(step, dict) or not all(isinstance(step.get(k), _FORM[k]) for k in _FORM):
        raise InputError(f'{file}: is no step that broke: give the {NAME} of a work directory')
    return content

"""What a config costs: images a second in training and in testing, and memory."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config

import mmscratch.data.transforms  # noqa: F401
from mmscratch.benchmark.memory import peak_mb
from mmscratch.config import config_check
from mmscratch.config.sections import walk
from mmscratch.data.layouts import use_folder
from mmscratch.hooks.init_hook import is_pretrained

# what is measured -> how a table calls it
METRICS = {
    'train_images_per_second': 'training, images/s',
    'train_memory_mb': 'training, MB',
    'test_images_per_second': 'testing, images/s',
}


def measure(config: Path, data: Path, batch: int, steps: int) -> dict[str, float]:
    """One round of one config."""
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper

    cfg = load(config, data)
    train, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    images = pseudo_collate([train[i % len(train)] for i in range(batch)])
    single = pseudo_collate([test[0]])

    on_gpu = torch.cuda.is_available()
    before = peak_mb(reset=True)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to('cuda' if on_gpu else 'cpu')
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    training = _timed(lambda: model.train_step(copy.deepcopy(images), optim_wrapper), steps)
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mb() - before
    model.eval()
    with torch.no_grad():
        testing = _timed(lambda: model.test_step(copy.deepcopy(single)), steps)
    return dict(
        train_images_per_second=batch / training,
        train_memory_mb=memory,
        test_images_per_second=1 / testing,
    )


def load(config: str | Path, data: Path) -> Config:
    """The config on the images in ``data``, ready for steps without a Runner.

    Weights are random, which cost what others cost, and the learning rate is one at which they stay
    finite.
    """
    from mmengine.logging import MessageHub
    from mmengine.registry import init_default_scope
    from mmengine.utils import import_modules_from_strings

    cfg = config_check.load(config, {})
    if imports := cfg.get('custom_imports'):
        import_modules_from_strings(**imports)
    init_default_scope('mmdet')
    use_folder(cfg, data)
    _load_nothing(cfg.model)
    cfg.optim_wrapper.optimizer.lr = 1e-4
    # what a Runner tells; YOLOX asks for it
    for unit in ('iter', 'epoch'):
        MessageHub.get_current_instance().update_info(unit, 0)
    return cfg


def _load_nothing(model: dict) -> None:
    """Leave out what would download weights."""
    for node in walk(model):
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, dict) and is_pretrained(init_cfg):
            node['init_cfg'] = None
        if node.get('pretrained'):
            node['pretrained'] = None


def _timed(call: Callable[[], Any], steps: int) -> float:
    """Median seconds of a call, after a first one that isn't counted."""
    seconds = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[1:])


def speed_rows(rounds: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    """The cells of a table, header first: medians over the rounds, with lowest and highest."""
    cells = [['config', *METRICS.values()]]
    for name, runs in rounds.items():
        columns = [[run[key] for run in runs] for key in METRICS]
        spreads = (
            f'{_digits(median(c))} ({_digits(min(c))} to {_digits(max(c))})' for c in columns
        )
        cells.append([name, *spreads])
    return cells


def _digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'

"""What training by a whole recipe costs: seconds a step of each stage in turns, multiply-adds."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmscratch.benchmark.complexity import detector_multiply_adds
from mmscratch.config.batch_plan import progressive_resizes
from mmscratch.data.layouts import use_folder
from mmscratch.data.seeded_dataset import SeededDataset
from mmscratch.data.shapes.drawing import generate
from mmscratch.study.miniature import plan
from mmscratch.study.miniature.data import DETECTION
from mmscratch.study.seed_statistics import spread

FAST = 'configs/miniature/mask_rcnn_r18_gn_fast.py'
STEPS = 3  # timed in a turn


def stages(cfg: Config) -> list[tuple[int, int]]:
    """First step, and step after the last one, of each image size of a run."""
    resizes = progressive_resizes(cfg)
    begins = resizes[0]['begins'] if resizes else [0]
    return list(pairwise([*begins, cfg.train_cfg.max_iters]))


def measure(folder: Path, tiny: bool, rounds: int) -> Iterator[dict[str, Any]]:
    """Seconds a step, with loading, of each stage of the fast recipe and of 6x, all in turn.

    Weights are random. The first step of each stage is not counted.

    Args:
        folder: gets images like the study's.
        tiny: few of them, one a step, for a test of the suite itself.
        rounds: how often each stage has its turn.

    Yields:
        All numbers so far: ``steps`` has the number of ``steps`` of each ``'NAME BEGIN'``, and the
        ``seconds`` a step of each round.
    """
    init_default_scope('mmdet')
    generate(folder, DETECTION, {'train': 2 if tiny else 300, 'val': 1}, progress=False)
    longest = Config.fromfile(plan.DETECTOR)
    longest.train_cfg.max_iters = plan.LONGEST * plan.SCHEDULE.one
    numbers: dict[str, dict[str, Any]] = {}
    runs = {}
    for name, cfg in {'6x': longest, 'fast': Config.fromfile(FAST)}.items():
        use_folder(cfg, folder)
        if tiny:
            cfg.train_dataloader.batch_size = 1
        for begin, end in stages(cfg):
            key = f'{name} {begin}'
            numbers[key] = dict(steps=end - begin, seconds=[])
            runs[key] = _stepper(cfg, begin)
            next(runs[key])
    for _ in range(rounds):
        for key, run in runs.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                next(run)
            numbers[key]['seconds'].append(round((time.perf_counter() - start) / STEPS, 4))
        yield dict(steps=numbers)


def _stepper(cfg: Config, step: int) -> Any:
    """Train a step each time that it is asked for the next one, from this step on."""
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper

    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = SeededDataset(dataset, seed=0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    # the rate of a warm-up's start, at which random weights stay finite
    for group in optim_wrapper.param_groups:
        group['lr'] /= 10
    batch = cfg.train_dataloader.batch_size
    while True:
        images = [data[index % len(dataset), step] for index in range(batch)]
        model.train_step(pseudo_collate(images), optim_wrapper)
        step += 1
        yield


def seconds_of_runs(numbers: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Seconds of a whole run of each config, by each round of :func:`measure`."""
    runs: dict[str, list[float]] = {}
    for key, stage in numbers.items():
        name = key.rpartition(' ')[0]
        seconds = [stage['steps'] * each for each in stage['seconds']]
        runs[name] = [a + b for a, b in zip(runs.get(name, [0.0] * len(seconds)), seconds)]
    return runs


def training_multiply_adds(cfg: Config) -> int:
    """Multiply-adds of a whole training run.

    A step counts three times the forward pass: the backward pass has the products with the weights
    and those with the features. Heads have the RoIs that the sampler takes at most. Images are as
    large as the first scale of ``Resize``, wide, before padding.
    """
    from mmdet.registry import MODELS

    with torch.device('meta'):
        detector = MODELS.build(ConfigDict(json.loads(json.dumps(cfg.model.to_dict()))))
    sampler = detector.train_cfg.rcnn.sampler
    detector.test_cfg.rpn.max_per_img = sampler.num
    detector.test_cfg.rcnn.max_per_img = int(sampler.num * sampler.pos_fraction)
    resizes = progressive_resizes(cfg)
    pipeline = cfg.train_dataloader.dataset.pipeline
    scales = resizes[0]['scales'] if resizes else [p.scale for p in pipeline if 'scale' in p][:1]
    total = 0
    for (begin, end), (width, height) in zip(stages(cfg), scales, strict=True):
        image = sum(detector_multiply_adds(detector, height, width).values())
        total += 3 * image * (end - begin) * cfg.auto_scale_lr.base_batch_size
    return total


def rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded, header first."""
    cells = [['recipe', 'seconds of training', 'lowest', 'highest']]
    for name, seconds in seconds_of_runs(numbers['steps']).items():
        cells.append([name, *(f'{f(seconds):.0f}' for f in (median, min, max))])
    return cells


def run_rows(measured: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of recipes, header first: results of the seeds, and time beside 6x's."""
    times = seconds_of_runs(measured['steps'])
    [whole, *_] = times.values()
    cells = [['recipe', 'seeds', 'iterations', 'images seen', 'box AP', 'mask AP', 'time / 6x']]
    for name, runs in measured['runs'].items():
        seeds = ', '.join(str(run['seed']) for run in runs)
        aps = [spread([100 * run[k] for run in runs]) for k in ('bbox_mAP', 'segm_mAP')]
        size = [f'{runs[0][key]:,}' for key in ('iterations', 'images_seen')]
        recipe, iterations = runs[0]['recipe'], runs[0]['iterations']
        # a run of another length has its stages in proportion
        written = sum(
            s['steps'] for k, s in measured['steps'].items() if k.startswith(f'{recipe} ')
        )
        ratios = [t / full * iterations / written for t, full in zip(times[recipe], whole)]
        time_cell = f'{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})'
        cells.append([name, seeds, *size, *aps, time_cell])
    return cells


def tried_rows(measured: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of all recipes that were tried, header first."""
    cells = [['recipe', 'iterations', 'loss', 'box AP', 'mask AP', 'verdict']]
    for run in measured['tried']:
        numbers = [str(run.get(key, '-')) for key in ('loss', 'bbox_mAP', 'segm_mAP')]
        cells.append([run['recipe'], str(run['iterations']), *numbers, run['verdict']])
    return cells


def cost_rows(files: list[Path]) -> list[list[str]]:
    """The cells of a table of multiply-adds, header first; shares are those of the first config."""
    configs = [Config.fromfile(file) for file in files]
    totals = [training_multiply_adds(cfg) for cfg in configs]
    cells = [['config', 'iterations', 'multiply-adds of training (10^18)', 'share']]
    for file, cfg, total in zip(files, configs, totals):
        numbers = f'{total / 1e18:.2f}', f'{total / totals[0]:.2f}'
        cells.append([file.stem, f'{cfg.train_cfg.max_iters:,}', *numbers])
    return cells

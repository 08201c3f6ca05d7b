"""How many images a second the training pipeline loads, with several numbers of workers."""

import os
import time

from mmscratch.benchmark.settings import Settings
from mmscratch.benchmark.stepper import OURS, load


def measure(settings: Settings) -> None:
    """Save images/s by number of workers: JPEG files of 640 x 384, made 1333 x 800, with masks."""
    from mmengine.runner import Runner

    cores = len(os.sched_getaffinity(0))
    numbers: dict[str, float] = {}
    for workers in [0, 1] if settings.tiny else [0, 4, max(cores - 2, 5)]:
        loader = load(OURS, settings.folder / 'wide', settings.tiny).train_dataloader
        loader.update(num_workers=workers, persistent_workers=False)
        images = iter(Runner.build_dataloader(loader, seed=0))
        # the first ones wait for the workers to start
        for _ in range(4 * workers + 1):
            next(images)
        count, begin = 0, time.monotonic()
        while time.monotonic() - begin < (0.2 if settings.tiny else 4):
            next(images)
            count += loader.batch_size
        numbers[f'{workers} workers'] = round(count / (time.monotonic() - begin), 1)
        settings.save(numbers)
        if settings.left() < 15:
            break

"""The start of a training on a data set of COCO's size, beside that of MMDetection's own runner.

python -m mmscratch.benchmark.start FOLDER IMAGES   # memory of a worker over so many images
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scratch/mask_rcnn_r18_gn_600i_shapes.py'
# COCO's train2017 and val2017: images, objects
COCO = dict(train=(118_287, 860_001), val=(5_000, 36_781))
TINY = dict(train=(24, 100), val=(8, 30))
WIDTH, HEIGHT, POINTS = 64, 48, 28
SIDES = 'mmscratch', 'mmdetection'


def measure(folder: Path, tiny: bool, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Start a training by each side, in turns, up to its first step.

    Args:
        folder: gets the data set.
        tiny: a small one, once, for a test of the suite itself.
        rounds: how often each side has its turn.

    Yields:
        All numbers so far. ``rounds`` has those of each side, see :func:`first_step`;
        ``worker_mb`` the memory of a worker over the images it has loaded, see :func:`memory`.
    """
    draw(folder / 'data', TINY if tiny else COCO)
    numbers: dict[str, Any] = dict(rounds={side: [] for side in SIDES})
    for number in range(1 if tiny else rounds):
        for side in SIDES:
            work_dir = folder / f'{side}{number}'
            command = globals()[f'{side}_command'](folder / 'data', work_dir)
            numbers['rounds'][side].append(first_step(command))
            yield numbers
    command = [sys.executable, '-m', 'mmscratch.benchmark.start', str(folder / 'data')]
    command.append('16' if tiny else '20000')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    done.check_returncode()
    numbers['worker_mb'] = json.loads(done.stdout.splitlines()[-1])
    yield numbers


def draw(folder: Path, splits: dict[str, tuple[int, int]]) -> None:
    """Write small JPEGs, no two of them the same, and polygons of 28 points about their objects."""
    random_state = np.random.RandomState(0)
    picture = random_state.randint(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    jpeg = cv2.imencode('.jpg', cv2.resize(picture, (WIDTH, HEIGHT)))[1].tobytes()
    outlines = [outline(random_state) for _ in range(4096)]
    categories = [dict(id=k + 1, name=f'class {k}') for k in range(80)]
    (folder / 'annotations').mkdir(parents=True)
    first = 1
    for split, (images, objects) in splits.items():
        (folder / split).mkdir()
        rows = []
        for number in range(first, first + images):
            name = f'{number:012d}.jpg'
            rows.append(dict(id=number, file_name=name, height=HEIGHT, width=WIDTH))
            # a comment after the first marker
            note = b'\xff\xfe\x00\x0e' + name[:12].encode()
            (folder / split / name).write_bytes(jpeg[:2] + note + jpeg[2:])
        owners = np.concatenate([np.arange(images), random_state.randint(0, images, objects)])
        chosen = random_state.randint(0, (80, len(outlines)), (objects, 2)).tolist()
        with (folder / f'annotations/instances_{split}.json').open('w') as file:
            file.write(f'{{"categories": {json.dumps(categories)}, "images": {json.dumps(rows)}')
            file.write(', "annotations": [')
            for k, (owner, (category, shape)) in enumerate(zip(owners.tolist(), chosen)):
                file.write(
                    f'{", " if k else ""}{{"id": {first * 100 + k}, "image_id": {first + owner}, '
                    f'"category_id": {category + 1}, "iscrowd": 0, {outlines[shape]}}}'
                )
            file.write(']}')
        first += images


def outline(random_state: np.random.RandomState) -> str:
    """JSON of a random object: segmentation, area, bbox."""
    radius = random_state.uniform(3, 16)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    lengths = radius * random_state.uniform(0.6, 1, POINTS)
    x, y = lengths * np.cos(angles), lengths * np.sin(angles)
    x += random_state.uniform(radius, WIDTH - radius)
    y += random_state.uniform(radius, HEIGHT - radius)
    x, y = x.round(2), y.round(2)
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    row = dict(
        segmentation=[np.stack([x, y], 1).ravel().tolist()],
        area=round(float(area), 3),
        bbox=[float(v) for v in (x.min(), y.min(), np.ptp(x).round(2), np.ptp(y).round(2))],
    )
    return json.dumps(row)[1:-1]


def mmscratch_command(data: Path, work_dir: Path) -> list[str]:
    """Training as users start it, without the first run's decoding of all images."""
    command = [sys.executable, 'tools/train.py', CONFIG, '--data', str(data), '--skip-decoding']
    return [
        *(*command, '--work-dir', str(work_dir), '--cfg-options'),
        'default_hooks.logger.interval=1',
    ]


def mmdetection_command(data: Path, work_dir: Path) -> list[str]:
    """The same model and images by MMDetection's classes and its tools/train.py.

    mmscratch supplies the operators alone that mmcv-lite lacks.
    """
    import mmdet
    from mmengine.config import Config, ConfigDict

    from mmscratch.data import coco_json
    from mmscratch.data.layouts import use_folder

    cfg = Config.fromfile(ROOT / CONFIG)
    use_folder(cfg, data)
    coco_json.keep([])
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step.type == 'ShrinkToFit':
                step.update(type='Resize', scale=(WIDTH, HEIGHT), keep_ratio=True)
    cfg.train_dataloader.sampler = ConfigDict(type='InfiniteSampler', shuffle=True)
    cfg.train_dataloader.batch_sampler = ConfigDict(type='AspectRatioBatchSampler')
    for split in ('val', 'test'):
        ann_file = cfg[f'{split}_evaluator'].ann_file
        cfg[f'{split}_evaluator'] = ConfigDict(
            type='CocoMetric', ann_file=ann_file, metric=['bbox', 'segm']
        )
    cfg.train_cfg = ConfigDict(type='IterBasedTrainLoop', max_iters=600, val_interval=200)
    cfg.default_hooks = ConfigDict(
        timer=dict(type='IterTimerHook'),
        logger=dict(type='LoggerHook', interval=1),
        param_scheduler=dict(type='ParamSchedulerHook'),
        checkpoint=dict(type='CheckpointHook', interval=200, by_epoch=False),
        sampler_seed=dict(type='DistSamplerSeedHook'),
    )
    cfg.visualizer = ConfigDict(
        type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
    )
    for key in ('custom_imports', 'tta_model', 'tta_pipeline', 'drop_bad_boxes', 'auto_scale_lr'):
        cfg.pop(key, None)
    work_dir.mkdir(parents=True)
    cfg.dump(work_dir / 'config.py')
    tool = Path(mmdet.__file__).parent / '.mim/tools/train.py'
    run = (
        'import runpy, sys, mmscratch; del sys.argv[0]; runpy.run_path(sys.argv[0], {}, "__main__")'
    )
    return [
        *(sys.executable, '-c', run, str(tool)),
        *(str(work_dir / 'config.py'), '--work-dir', str(work_dir)),
    ]


def first_step(command: list[str]) -> dict[str, Any]:
    """Run a training up to its first step, and end it.

    Returns:
        ``seconds`` from the command to the line of the first step in its log; ``cpu_seconds`` of
        the main process until then; ``main`` and ``workers``, see :func:`memory_mb`.
    """
    begin = time.monotonic()
    # tools have no bar on their terminal then, and MMEngine logs to stderr
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # a group of its own, which ends as one
        start_new_session=True,
    )
    told = []
    try:
        for line in process.stdout or ():
            told.append(line)
            if re.search(r'Iter\(train\) +\[ *1/', line):
                seconds = time.monotonic() - begin
                # the fields after the name
                fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
                return dict(
                    seconds=round(seconds, 1),
                    cpu_seconds=round(sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK'), 1),
                    main=memory_mb(process.pid),
                    workers=[memory_mb(child) for child in children(process.pid)],
                )
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    raise RuntimeError(f'{" ".join(command)}: {"".join(told)[-2000:]}')


def children(pid: int) -> list[int]:
    """The processes that the main thread of one has started, on Linux; none if it has ended."""
    with contextlib.suppress(OSError):
        return list(map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))
    return []


def memory_mb(pid: int | str) -> dict[str, int]:
    """Memory of a process on Linux, in MB.

    ``rss`` counts pages that it shares with others, ``pss`` its part of these, ``own`` none.
    """
    text = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:]
    kb = {line.split(':')[0]: int(line.split()[1]) for line in text}
    kb['Own'] = kb['Private_Clean'] + kb['Private_Dirty']
    return {name.lower(): round(kb[name] / 1024) for name in ('Rss', 'Pss', 'Own')}


def memory(folder: str, images: int) -> list[dict[str, int]]:
    """The memory of one of two workers after an eighth of so many images, after two, ..."""
    from mmdet.registry import DATASETS
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    from mmscratch.benchmark import speed
    from mmscratch.data import layouts

    cfg = speed.load(ROOT / CONFIG, Path(folder))
    layouts.share_parsed_files(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    order = random.Random(0).choices(range(len(dataset)), k=images)
    loader = DataLoader(dataset, 8, sampler=order, num_workers=2, collate_fn=pseudo_collate)
    found = []
    for number, _ in enumerate(loader, 1):
        if number % (len(loader) // 8 or 1) == 0 and number < len(loader):
            worker = children(os.getpid())[0]
            found.append(dict(images=number * 8 // 2, **memory_mb(worker)))
    return found


def rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded: medians, lowest and highest."""
    cells = [['start', 'first step after, s', 'CPU time, s', 'main process, MB', 'a worker, MB']]
    cells[0] += ['all, MB']
    for side, runs in numbers['rounds'].items():
        row = [side]
        for key in ('seconds', 'cpu_seconds'):
            values = [run[key] for run in runs]
            row.append(f'{median(values):.1f} ({min(values):.1f} to {max(values):.1f})')
        row.append(f'{median(run["main"]["pss"] for run in runs):,.0f}')
        row.append(f'{median(worker["pss"] for run in runs for worker in run["workers"]):,.0f}')
        total = [sum(p['pss'] for p in (run['main'], *run['workers'])) for run in runs]
        cells.append([*row, f'{median(total):,.0f}'])
    return cells


def memory_rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of a worker's memory over the images that it has loaded."""
    cells = [['images that the worker has loaded', 'its own, MB', 'with its part of shared ones']]
    for row in numbers.get('worker_mb', []):
        cells.append([f'{row["images"]:,}', f'{row["own"]:,}', f'{row["pss"]:,}'])
    return cells


if __name__ == '__main__':
    print(json.dumps(memory(sys.argv[1], int(sys.argv[2]))))

"""Loading of training images by the same steps: this project beside MMDetection.

    python -m mmscratch.benchmark.loading mmdetection CONFIG FOLDER IMAGES   # one measurement

Times are CPU time, which other processes on the machine hardly change.
"""

import json
import random
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import mmcv
import numpy as np
import torch

from mmscratch.config.sections import walk

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = {
    '800': 'configs/scratch/mask_rcnn_r50_gn_2x.py',
    '640 to 800': 'configs/scratch/mask_rcnn_r50_gn_9x_ms.py',
    'LSJ': 'configs/scratch/mask_rcnn_r50_syncbn_100e_lsj.py',
}
SIDES = 'mmscratch', 'mmdetection'


def measure(folder: Path, tiny: bool, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """Load images with each of ``PIPELINES``, in turns, each time in a process of its own.

    Args:
        folder: gets the images.
        tiny: few of them by one pipeline, once, for a test of the suite itself.
        rounds: how often each side has its turn.

    Yields:
        All numbers so far. ``rounds`` has those of each pipeline and side, see :func:`load`;
        ``decoders`` milliseconds an image, and whether pixels are those of OpenCV.
    """
    drawn = draw(folder, 4 if tiny else 64)
    configs = dict(list(PIPELINES.items())[: 1 if tiny else None])
    runs: dict[str, dict[str, list]] = {name: {side: [] for side in SIDES} for name in configs}
    numbers: dict[str, Any] = dict(
        data=drawn, decoders=decoders(folder, 1 if tiny else 5), rounds=runs
    )
    for _ in range(1 if tiny else rounds):
        for name, config in configs.items():
            for side in SIDES:
                command = [sys.executable, '-m', 'mmscratch.benchmark.loading', side, config]
                command += [str(folder), '4' if tiny else '256']
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                done.check_returncode()
                runs[name][side].append(json.loads(done.stdout.splitlines()[-1]))
                yield numbers


def draw(folder: Path, images: int) -> dict[str, Any]:
    """Draw JPEGs of COCO's size with about as many objects; return what they hold on average."""
    from mmscratch.data.shapes.drawing import ShapesConfig, generate

    config = ShapesConfig(
        size=(640, 480), classes=12, objects=(3, 12), object_size=(0.06, 0.6), noise=10
    )
    generate(folder, config, dict(train=images), progress=False)
    file = folder / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    size = 0
    for row in content['images']:
        png = folder / 'train' / row['file_name']
        jpeg = png.with_suffix('.jpg')
        mmcv.imwrite(mmcv.imread(png), str(jpeg), [cv2.IMWRITE_JPEG_QUALITY, 95])
        row['file_name'] = jpeg.name
        size += jpeg.stat().st_size
    file.write_text(json.dumps(content))
    points = [sum(map(len, row['segmentation'])) / 2 for row in content['annotations']]
    return dict(
        images=images,
        jpeg_kb=round(size / images / 1e3),
        objects_an_image=round(len(points) / images, 1),
        points_an_object=round(sum(points) / len(points)),
    )


def decoders(folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Decode all images in turns by each library that is at hand."""
    import io

    import torchvision
    from PIL import Image

    files = [path.read_bytes() for path in sorted((folder / 'train').glob('*.jpg'))]

    def opencv(content: bytes) -> np.ndarray:
        return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))

    def pillow(content: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))[..., ::-1]

    def of_torchvision(content: bytes) -> np.ndarray:
        tensor = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return torchvision.io.decode_jpeg(tensor).permute(1, 2, 0).numpy()[..., ::-1]

    ways: dict[str, Callable[[bytes], np.ndarray]] = dict(
        opencv=opencv, pillow=pillow, torchvision=of_torchvision
    )
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.process_time()
            for content in files:
                way(content)
            times[name].append(1e3 * (time.process_time() - begin) / len(files))
    return {
        name: dict(
            ms=[round(ms, 3) for ms in times[name]],
            equal=all(np.array_equal(way(content), opencv(content)) for content in files),
        )
        for name, way in ways.items()
    }


def load(side: str, config: str, folder: str, images: int) -> dict[str, Any]:
    """Load so many images, once here and once in a worker.

    Returns:
        ``stages_ms`` of an image; ``worker_ms`` and ``main_ms`` of an image that a worker loads and
        sends, of which ``sent_kb`` go through a pipe besides the shared pixels.
    """
    import pickle

    import mmdet.datasets  # noqa: F401
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    from torch.utils.data import DataLoader

    if side == 'mmscratch':
        import mmscratch.data.transforms  # noqa: F401
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    init_default_scope('mmdet')
    dataset = Config.fromfile(config, import_custom_modules=False).train_dataloader.dataset
    content = json.loads((Path(folder) / 'annotations/instances_train.json').read_text())
    for node in walk(dataset):
        if 'ann_file' in node:
            node.update(data_root=folder, ann_file='annotations/instances_train.json')
            node.update(data_prefix=dict(img='train'))
            node['metainfo'] = dict(classes=[row['name'] for row in content['categories']])
    built = DATASETS.build(dataset)
    built.full_init()

    stages: dict[str, float] = defaultdict(float)
    sent = 0
    seed(0)
    for number in range(-min(images, 32), images):
        if number == 0:  # after some that are not counted
            stages.clear()
            seed(0)
        begin = time.thread_time()
        results = built.get_data_info(number % len(built))
        for step in built.pipeline.transforms:
            results = step(results)
            now = time.thread_time()
            stages[type(step).__name__] += 1e3 * (now - begin) / images
            begin = now
        sent += len(pickle.dumps(results['data_samples'])) if number >= 0 else 0

    order = [number % len(built) for number in range(images)]
    loader = DataLoader(
        built, 2, sampler=order, num_workers=1, collate_fn=pseudo_collate, worker_init_fn=seed
    )
    before, begin = children_seconds(), time.process_time()
    for _ in loader:
        pass
    main, worker = time.process_time() - begin, children_seconds() - before
    return dict(
        stages_ms={name: round(ms, 3) for name, ms in stages.items()},
        worker_ms=round(1e3 * worker / images, 3),
        main_ms=round(1e3 * main / images, 3),
        sent_kb=round(sent / images / 1e3, 1),
    )


def seed(number: int) -> None:
    """Give both sides the same augmentation."""
    random.seed(number)
    np.random.seed(number)


def children_seconds() -> float:
    """CPU time of the child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rows(numbers: dict[str, Any]) -> list[list[str]]:
    """The cells of a table of what :func:`measure` yielded, header first.

    Medians over the rounds; the ratio is that of a worker's time, with the rounds' lowest and
    highest.
    """
    cells = [['pipeline', 'MMDetection: images/s a core', 'here', 'ratio']]
    cells[0] += ['main process, ms an image', 'here', 'KB through a pipe', 'here']
    for name, sides in numbers['rounds'].items():
        ours, theirs = (sides[side] for side in SIDES)
        ratios = [b['worker_ms'] / a['worker_ms'] for a, b in zip(ours, theirs)]
        row = [name]
        row += [f'{1e3 / median(r["worker_ms"] for r in runs):.0f}' for runs in (theirs, ours)]
        row.append(f'{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})')
        for key, digits in (('main_ms', 2), ('sent_kb', 0)):
            row += [f'{median(r[key] for r in runs):,.{digits}f}' for runs in (theirs, ours)]
        cells.append(row)
    return cells


def stage_rows(numbers: dict[str, Any]) -> list[list[str]]:
    """Milliseconds an image of each step of the first pipeline, medians, header first."""
    ours, theirs = (numbers['rounds']['800'][side] for side in SIDES)
    cells = [['step', 'MMDetection, ms', 'here, ms']]
    for name in ours[0]['stages_ms']:
        times = (median(run['stages_ms'][name] for run in runs) for runs in (theirs, ours))
        cells.append([name, *(f'{ms:.2f}' for ms in times)])
    return cells


def decoder_rows(numbers: dict[str, Any]) -> list[list[str]]:
    """Milliseconds a JPEG of each library, medians, header first."""
    cells = [['decoder', 'ms an image', 'lowest', 'highest', "OpenCV's pixels"]]
    for name, own in numbers['decoders'].items():
        times = [f'{f(own["ms"]):.2f}' for f in (median, min, max)]
        cells.append([name, *times, 'yes' if own['equal'] else 'no'])
    return cells


if __name__ == '__main__':
    print(json.dumps(load(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))

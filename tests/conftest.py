"""Fixtures that several test files share."""

import contextlib
import functools
import gc
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import cloudpickle
import mmengine.config.config
import mmengine.config.utils
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from PIL import Image

import mmscratch  # noqa: F401  (before mmdet: it stands in for mmcv's compiled ops)

ROOT = Path(__file__).resolve().parents[1]
# another process cannot import this file
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope='session', autouse=True)
def _metafiles_are_read_once():
    """MMEngine reads all of MMDetection's metafiles anew for each ``mmdet::`` base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.utils.load', functools.cache(mmengine.config.utils.load))
        yield


def unformatted(text: str, **style: object) -> tuple[str, bool]:
    """In place of yapf."""
    return text, True


@pytest.fixture(scope='session', autouse=True)
def _runners_start_and_save_soon():
    """MMEngine lays out the text of a config for each checkpoint, and asks compilers who they are.

    Both take half a second or more. A tool in a process of its own does both.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.config, 'FormatCode', unformatted)
        patch.setattr(mmengine.runner.runner, 'collect_env', dict)
        yield


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory):
    """Which images were decoded is not remembered in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


# Listed against their ids: MMDetection's labels follow the list, 'star' is label 0.
CATEGORIES = [{'id': 7, 'name': 'star'}, {'id': 3, 'name': 'disc'}]


def coco_annotation(number: int, image_id: int, category_id: int, bbox: list[float]) -> dict:
    x, y, w, h = bbox
    return {
        'id': number,
        'image_id': image_id,
        'category_id': category_id,
        'bbox': bbox,
        'area': w * h,
        'iscrowd': 0,
        'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }


def coco_split(numbers: list[int], suffix: str) -> dict:
    images = [
        {'id': n, 'file_name': f'{n}{suffix}', 'width': 48, 'height': 40 + n} for n in numbers
    ]
    # The last image of the training split has nothing on it.
    annotations = [
        coco_annotation(10 * n + k, n, category['id'], [4.0 * k, 5.0, 20.0, 30.0])
        for n in numbers
        if n != 3
        for k, category in enumerate(CATEGORIES)
    ]
    categories = [dict(category) for category in CATEGORIES]
    return {'images': images, 'annotations': annotations, 'categories': categories}


@pytest.fixture
def make_coco(tmp_path) -> Callable[..., Path]:
    """Writes 3 training images and 2 validation images of 2 classes in COCO layout.

    ``change(split, data)`` may spoil the JSON before it is written.
    """

    def make(change: Callable[[str, dict], None] | None = None, suffix: str = '') -> Path:
        root = tmp_path / 'data'
        (root / 'annotations').mkdir(parents=True, exist_ok=True)
        for name, numbers, ending in (('train', [1, 2, 3], '.png'), ('val', [4, 5], '.jpg')):
            data = coco_split(numbers, ending)
            folder = root / f'{name}{suffix}'
            folder.mkdir(exist_ok=True)
            for image in data['images']:
                rng = np.random.default_rng(image['id'])
                pixels = rng.integers(0, 256, (image['height'], image['width'], 3), np.uint8)
                Image.fromarray(pixels).save(folder / image['file_name'])
            if change:
                change(name, data)
            file = root / 'annotations' / f'instances_{name}{suffix}.json'
            file.write_text(json.dumps(data))
        return root

    return make


@pytest.fixture
def make_voc(tmp_path) -> Callable[..., Path]:
    """Writes a VOCdevkit of one or two images a list, with a disc of a dog on each."""

    def make() -> Path:
        root = tmp_path / 'VOCdevkit'
        parts = {
            'VOC2007': {'trainval': ['000005', '000007']},
            'VOC2012': {'train': ['2008_000008'], 'val': ['2008_000002', '2008_000003']},
        }
        for year, lists in parts.items():
            for below in ('ImageSets/Main', 'Annotations', 'JPEGImages'):
                (root / year / below).mkdir(parents=True, exist_ok=True)
            for name, ids in lists.items():
                file = root / year / f'ImageSets/Main/{name}.txt'
                file.write_text(''.join(f'{i}\n' for i in ids))
                for i in ids:
                    write_voc_image(root / year, i)
        return root

    return make


def write_voc_image(folder: Path, name: str) -> None:
    """A 96 x 64 image with a dog, a small cat and a difficult dog; corners count from 1."""
    boxes = [('dog', 0, (11, 11, 50, 50)), ('cat', 0, (1, 1, 20, 12)), ('dog', 1, (61, 21, 90, 60))]
    pixels = np.random.default_rng(len(name)).integers(0, 100, (64, 96, 3), np.uint8)
    objects = ''
    for kind, difficult, (x1, y1, x2, y2) in boxes:
        pixels[y1 - 1 : y2, x1 - 1 : x2] += 100
        objects += (
            f'<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>'
            f'<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>'
            '</bndbox></object>'
        )
    Image.fromarray(pixels).save(folder / f'JPEGImages/{name}.jpg')
    (folder / f'Annotations/{name}.xml').write_text(
        '<annotation><size><width>96</width><height>64</height><depth>3</depth></size>'
        f'{objects}</annotation>'
    )


@pytest.fixture(autouse=True)
def _fresh_registries():
    """Runners of one test must not be found by name in the next."""
    yield
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    # each class of visualizer keeps its own list
    visualizers = [Visualizer]
    for visualizer in visualizers:
        visualizers += visualizer.__subclasses__()
    for manager in (MMLogger, MessageHub, *visualizers, DefaultScope):
        manager._instance_dict.clear()


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=needs_cuda)])
def device(request) -> str:
    return request.param


class ForkedTool:
    """A process of a tool, as ``subprocess.Popen`` has it.

    It is a fork of a process that has imported torch, MMDetection and mmscratch, which takes as
    long as a short training. That is not this process, unless it is such a fork itself: torch
    refuses gradients in a fork of one that has computed some.

    Args:
        command: as of ``Popen``; a tool of Python.
        stdout: a file with a name, for stdout and stderr.
        env: as of ``Popen``.
        prepare: is called in the new process.
        options: of ``Popen``; they are ignored.
    """

    def __init__(
        self,
        command: list[str],
        stdout: IO[str],
        env: Mapping[str, str] = os.environ,
        prepare: Callable[[], object] = lambda: None,
        **options: object,
    ) -> None:
        file, env = stdout.name, dict(env)

        def be_the_tool() -> None:
            with open(file, 'a') as out:
                for stream in (1, 2):
                    os.dup2(out.fileno(), stream)
            sys.stdout, sys.stderr = (os.fdopen(n, 'w', 1, closefd=False) for n in (1, 2))
            os.environ.clear()
            os.environ.update(env)
            os.chdir(ROOT)
            # a pool of threads does not survive a fork
            torch.set_num_threads(1)
            # MMDetection collects garbage after it has read annotations
            gc.freeze()
            mmengine.config.config.FormatCode = unformatted
            mmengine.runner.runner.collect_env = dict
            sys.argv = command[1:]
            prepare()
            runpy.run_path(sys.argv[0], run_name='__main__')

        kind = 'fork' if multiprocessing.parent_process() else 'forkserver'
        context = multiprocessing.get_context(kind)
        context.set_forkserver_preload(['pytest', 'cloudpickle', 'mmscratch.register_all'])
        code, work = 'import cloudpickle; cloudpickle.loads(work)()', cloudpickle.dumps(be_the_tool)
        self._process = context.Process(target=exec, args=(code, dict(work=work)))
        self._process.start()
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired('tool', timeout)
        return self._process.exitcode


@pytest.fixture(scope='session')
def forked_runs() -> Callable[[], contextlib.AbstractContextManager]:
    """Within it the runs of an executor are forks."""

    @contextlib.contextmanager
    def replaced() -> Iterator[None]:
        popen = SimpleNamespace(Popen=ForkedTool, STDOUT=subprocess.STDOUT)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('mmscratch.study.launchers.task.subprocess', popen)
            yield

    return replaced


@pytest.fixture(scope='session')
def run_forked() -> Callable[..., subprocess.CompletedProcess]:
    """Return a function like ``subprocess.run``, with what is printed to stderr in stdout too."""

    def run(
        command: list[str], prepare: Callable[[], object] = lambda: None, **options: object
    ) -> subprocess.CompletedProcess:
        with tempfile.NamedTemporaryFile('r') as said:
            tool = ForkedTool(command, said, os.environ | {'OMP_NUM_THREADS': '1'}, prepare)
            status = tool.wait()
            return subprocess.CompletedProcess(command, status, said.read(), '')

    return run


@pytest.fixture(scope='session')
def run_tool(run_forked) -> Callable[..., str]:
    """Return a function that runs a tool at the root of the checkout; it returns what it printed.

    A tool that users start has a test that runs it with ``is_forked=False``, in a process that
    imports by itself.
    """

    def run(
        tool: str,
        *arguments: str | Path,
        expect: int = 0,
        is_forked: bool = True,
        prepare: Callable[[], object] = lambda: None,
    ) -> str:
        command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
        if is_forked:
            done = run_forked(command, prepare)
        else:
            env = os.environ | {'OMP_NUM_THREADS': '1'}
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == expect, said[-6000:]
        return said

    return run

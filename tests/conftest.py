"""Fixtures that several test files share."""

import functools

import mmengine.config.utils
import pytest
import torch

import mmscratch  # noqa: F401  (before mmdet: it stands in for mmcv's compiled ops)


@pytest.fixture(scope='session', autouse=True)
def _metafiles_are_read_once():
    """MMEngine reads all of MMDetection's metafiles anew for each ``mmdet::`` base."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.utils.load', functools.cache(mmengine.config.utils.load))
        yield


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory):
    """Which images were decoded is not remembered in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


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

"""Fixtures that several test files share."""

import pytest

import mmscratch  # noqa: F401  (before mmdet: it stands in for mmcv's compiled ops)


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
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        manager._instance_dict.clear()

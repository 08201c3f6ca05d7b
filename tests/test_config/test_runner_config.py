import copy
from pathlib import Path

import pytest
from mmengine.config import Config

import mmscratch.hooks  # noqa: F401  (registers them)
from mmscratch.config.runner_config import WAIT_SECONDS, fit_to_runner

ROOT = Path(__file__).resolve().parents[2]
OF_WORKERS = dict(
    persistent_workers=True, prefetch_factor=4, timeout=30, multiprocessing_context='fork'
)


@pytest.fixture(scope='module')
def runtime() -> Config:
    return Config.fromfile(ROOT / 'configs/_base_/runtime.py')


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_options_of_workers_follow_their_number(runtime, split):
    cfg = copy.deepcopy(runtime)
    for number, left in ((2, OF_WORKERS), (0, {})):
        cfg[f'{split}_dataloader'] = dict(num_workers=number, batch_size=1, **OF_WORKERS)
        fit_to_runner(cfg)
        expected = dict(num_workers=number, batch_size=1, **left)
        assert cfg[f'{split}_dataloader'] == expected
    # no wait is endless
    cfg[f'{split}_dataloader'] = dict(num_workers=2)
    fit_to_runner(cfg)
    assert cfg[f'{split}_dataloader'].timeout == WAIT_SECONDS
    # PyTorch takes none where no number is said
    cfg[f'{split}_dataloader'] = dict(batch_size=1, persistent_workers=True)
    fit_to_runner(cfg)
    assert cfg[f'{split}_dataloader'] == dict(batch_size=1)


def test_hooks_that_are_none_are_disabled(runtime):
    from mmdet.registry import HOOKS
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    init_default_scope('mmdet')
    for name in (*runtime.default_hooks, 'runtime_info'):
        cfg = copy.deepcopy(runtime)
        kinds = {hook: HOOKS.get(node.type).__name__ for hook, node in cfg.default_hooks.items()}
        kinds['runtime_info'] = 'RuntimeInfoHook'
        cfg.default_hooks[name] = None
        fit_to_runner(cfg)
        runner = Runner.__new__(Runner)
        runner._hooks = []
        runner.register_default_hooks(cfg.default_hooks)
        del kinds[name]
        assert sorted(type(hook).__name__ for hook in runner.hooks) == sorted(kinds.values())


@pytest.mark.parametrize('hooks', [None, {}])
def test_there_need_not_be_any_hook_or_loader(hooks):
    cfg = Config(dict(default_hooks=hooks, val_dataloader=None))
    fit_to_runner(cfg)
    assert cfg.default_hooks == hooks


def test_pictures_need_a_visualizer(runtime):
    cfg = copy.deepcopy(runtime)
    fit_to_runner(cfg)
    assert cfg.default_hooks == runtime.default_hooks
    cfg.visualizer = None
    fit_to_runner(cfg)
    assert runtime.default_hooks.keys() - cfg.default_hooks.keys() == {'visualization'}

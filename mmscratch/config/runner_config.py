"""Remove what stops MMEngine's Runner: values that it refuses, and a wait without end."""

from mmengine.config import Config

# PyTorch's DataLoader refuses these options if it has no workers.
_OPTIONS_OF_WORKERS = (
    'persistent_workers',
    'prefetch_factor',
    'timeout',
    'multiprocessing_context',
)
# A batch that takes longer comes from a worker that hangs.
WAIT_SECONDS = 600
# MMEngine 0.10.7 registers these hooks by itself, except those that the config sets to None.
HOOKS_OF_MMENGINE = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def fit_to_runner(cfg: Config) -> None:
    """Remove from ``cfg`` what would stop the Runner.

    - the options of a data loader's workers, if ``num_workers`` is 0
    - an endless wait for a batch of a loader's workers (``WAIT_SECONDS``)
    - hooks that are None, i.e. disabled; MMEngine accepts that for its own hooks only
    - the hook that draws detections, if ``visualizer`` is None; MMEngine's own cannot draw them
    """
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        if loader.get('num_workers', 0) == 0:
            for option in _OPTIONS_OF_WORKERS:
                loader.pop(option, None)
        else:
            loader.setdefault('timeout', WAIT_SECONDS)
    hooks = cfg.get('default_hooks') or {}
    for name, hook in list(hooks.items()):
        if hook is None and name not in HOOKS_OF_MMENGINE:
            del hooks[name]
    if cfg.get('visualizer') is None:
        hooks.pop('visualization', None)

"""Refuse values of a config that this project's own code cannot use, before MMEngine reads them."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from mmengine.config import Config

from mmscratch.config.sections import used_sections, walk_paths
from mmscratch.errors import InputError

_Test = Callable[[Any], bool]


def _is(kind: type) -> _Test:
    return lambda value: isinstance(value, kind)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


def _whole(least: int, most: float = math.inf) -> _Test:
    return lambda value: _is_number(value) and isinstance(value, int) and least <= value <= most


def _list_of(fits: _Test) -> _Test:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


# A description of the value, its test, and the dotted paths that need such a value. A * is any name
# or number, ** any path. If the description ends in "or None", None is accepted too. MMEngine and
# torch check other values themselves.
_VALUES: dict[str, tuple[_Test, str]] = {
    'a whole number from 1': (
        _whole(1),
        '*_dataloader.batch_size train_cfg.max_iters train_cfg.val_interval train_cfg.accumulation '
        'optim_wrapper.accumulative_counts auto_scale_lr.base_batch_size log_processor.window_size '
        'default_hooks.logger.interval default_hooks.visualization.min_side '
        'default_hooks.finite_loss.max_skipped param_scheduler**.end param_scheduler**.step_size',
    ),
    'a whole number from 0': (
        _whole(0),
        '*_dataloader.num_workers train_cfg.val_begin default_hooks.checkpoint.save_begin '
        'default_hooks.start_cascade.begin default_hooks.visualization.num_images '
        'default_hooks.finite_loss.skip param_scheduler**.begin',
    ),
    'a whole number from 1, or None': (
        _whole(1),
        'param_scheduler**.T_max *_dataloader.prefetch_factor',
    ),
    'a whole number from 1, or -1 for never': (
        lambda value: value == -1 or _whole(1)(value),
        'default_hooks.checkpoint.interval',
    ),
    'a whole number of images from 1, a file of image ids, or None': (
        lambda value: (isinstance(value, str) and value != '') or _whole(1)(value),
        'train_dataloader.sampler.subset',
    ),
    'a whole number from 0 to 4294967295, or None': (
        _whole(0, 2**32 - 1),
        'randomness.seed train_dataloader.sampler.seed',
    ),
    'a list of whole numbers from 0': (_list_of(_whole(0)), 'param_scheduler**.milestones'),
    'a list of whole numbers from 1': (_list_of(_whole(1)), 'param_scheduler**.periods'),
    'a list of whole numbers from 1, or None': (_list_of(_whole(1)), '*_evaluator**.proposal_nums'),
    'a list of pairs of whole numbers, or None': (
        _list_of(_list_of(_whole(0))),
        'train_cfg.dynamic_intervals',
    ),
    'the name of a class': (lambda value: isinstance(value, str) or callable(value), '**.type'),
    'a section (a dict)': (
        _is(dict),
        'model env_cfg *_dataloader.dataset *_dataloader.**.dataset',
    ),
    'a section (a dict), or None': (
        _is(dict),
        '*_dataloader *_dataloader.sampler *_dataloader.**filter_cfg train_cfg val_cfg test_cfg '
        'randomness optim_wrapper optim_wrapper.optimizer auto_scale_lr log_processor '
        'default_hooks default_hooks.*',
    ),
    'a section (a dict), a list of them, or None': (
        lambda value: isinstance(value, dict) or _list_of(_is(dict))(value),
        'val_evaluator test_evaluator param_scheduler',
    ),
    'a list of sections (dicts), or None': (
        _list_of(lambda step: callable(step) or isinstance(step, dict)),
        '**.pipeline',
    ),
    'a name, or a list of names': (
        lambda value: isinstance(value, str) or _list_of(_is(str))(value),
        '*_evaluator**.metric',
    ),
    'a number from 0': (
        _is_number,
        'optim_wrapper.optimizer.lr param_scheduler**.gamma **.filter_cfg.min_size '
        'default_hooks.visualization.score_thr',
    ),
    'a number from 0, or None': (_is_number, 'param_scheduler**.eta_min'),
    'True or False': (
        lambda value: value in (True, False),
        'drop_bad_boxes auto_scale_lr.enable **.filter_cfg.filter_empty_gt '
        'train_dataloader.sampler.shuffle param_scheduler**.by_epoch',
    ),
    'a path, or None': (
        _is(str),
        '*_dataloader.**data_root *_dataloader.**ann_file *_dataloader.**data_prefix.img',
    ),
}


def _regex(paths: str) -> re.Pattern[str]:
    texts = (re.escape(path).replace(r'\*\*', '.*') for path in paths.split())
    return re.compile('|'.join(text.replace(r'\*', r'\w*') for text in texts))


_RULES = [(_regex(paths), words, fits) for words, (fits, paths) in _VALUES.items()]


def check_values(cfg: Config, options: Iterable[str] = ()) -> None:
    """Refuse values that the project cannot use. 9e4 becomes 90000 if a whole number is needed.

    Args:
        cfg: changed in place.
        options: dotted paths that the command line has set.

    Raises:
        InputError: a value does not fit its key.
    """
    for parent, node in list(walk_paths(used_sections(cfg))):
        for key, value in list(node.items()):
            path = f'{parent}.{key}' if parent else key
            for rule, words, fits in _RULES:
                if not rule.fullmatch(path):
                    continue
                found = _made_whole(value) if 'whole number' in words else value
                if not (fits(found) or (found is None and words.endswith('or None'))):
                    given = any(f'{path}.'.startswith(f'{option}.') for option in options)
                    source = '--cfg-options ' if given else f'{cfg.filename}: '
                    raise InputError(f'{source}{path}={value!r}: give {words}')
                if words == 'True or False':
                    found = bool(found)
                # a Config stores a copy of a section
                if found is not value:
                    (node if parent else cfg)[key] = found


def _made_whole(value: Any) -> Any:
    """Convert floats such as 9e4 to whole numbers."""
    if isinstance(value, list | tuple):
        return type(value)(map(_made_whole, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value

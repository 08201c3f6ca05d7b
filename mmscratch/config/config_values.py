"""Refuse values that the project's own code cannot compute with, before MMEngine sees them."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from mmengine.config import Config

from mmscratch.config.sections import used_sections, walk_paths
from mmscratch.errors import InputError

_Test = Callable[[Any], bool]


def _is_section(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


def _whole(least: int, most: float = math.inf) -> _Test:
    return lambda value: _is_number(value) and isinstance(value, int) and least <= value <= most


def _list_of(fits: _Test) -> _Test:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


_SCHEDULER = r'param_scheduler(\.\d+)?\.'
# Dotted paths, what has to stand there, and its test. Where the words end in "or None", None fits
# too. What MMEngine and torch check is left to them.
_WHOLE_NUMBERS: tuple[tuple[str, str, _Test], ...] = (
    (
        r'.+_dataloader\.batch_size|train_cfg\.(max_iters|val_interval)|'
        r'optim_wrapper\.accumulative_counts|auto_scale_lr\.base_batch_size|'
        r'default_hooks\.(logger\.interval|visualization\.min_side|finite_loss\.max_skipped)|'
        rf'log_processor\.window_size|{_SCHEDULER}(end|step_size)',
        'a whole number from 1',
        _whole(1),
    ),
    (
        r'.+_dataloader\.num_workers|train_cfg\.val_begin|'
        r'default_hooks\.(checkpoint\.save_begin|start_cascade\.begin|visualization\.num_images)|'
        rf'{_SCHEDULER}begin',
        'a whole number from 0',
        _whole(0),
    ),
    (
        rf'{_SCHEDULER}T_max|.+_dataloader\.prefetch_factor',
        'a whole number from 1, or None',
        _whole(1),
    ),
    (
        r'default_hooks\.checkpoint\.interval',
        'a whole number from 1, or -1 for never',
        lambda value: value == -1 or _whole(1)(value),
    ),
    (
        r'train_dataloader\.sampler\.subset',
        'a number of images from 1, a file of image ids, or None',
        lambda value: (_is_text(value) and value != '') or _whole(1)(value),
    ),
    (
        r'randomness\.seed|train_dataloader\.sampler\.seed',
        'a whole number from 0 to 4294967295, or None',
        _whole(0, 2**32 - 1),
    ),
    (rf'{_SCHEDULER}milestones', 'a list of whole numbers from 0', _list_of(_whole(0))),
    (rf'{_SCHEDULER}periods', 'a list of whole numbers from 1', _list_of(_whole(1))),
    (
        r'(val|test)_evaluator(\.\d+)?\.proposal_nums',
        'a list of whole numbers from 1, or None',
        _list_of(_whole(1)),
    ),
    (
        r'train_cfg\.dynamic_intervals',
        'a list of pairs of whole numbers, or None',
        _list_of(_list_of(_whole(0))),
    ),
)
_FLAGS = (
    r'drop_bad_boxes|auto_scale_lr\.enable|.+\.filter_cfg\.filter_empty_gt|'
    rf'train_dataloader\.sampler\.shuffle|{_SCHEDULER}by_epoch',
    'True or False',
    lambda value: value in (True, False),
)
_OTHERS: tuple[tuple[str, str, _Test], ...] = (
    (r'.+\.type', 'the name of a class', lambda value: _is_text(value) or callable(value)),
    (r'model|env_cfg|.+_dataloader\.(.+\.)?dataset', 'a section (a dict)', _is_section),
    (
        r'(train|val|test)_(cfg|dataloader)|.+_dataloader\.(sampler|(.+\.)?filter_cfg)|randomness|'
        r'optim_wrapper(\.optimizer)?|auto_scale_lr|default_hooks(\.\w+)?|log_processor',
        'a section (a dict), or None',
        _is_section,
    ),
    (
        r'(val|test)_evaluator|param_scheduler',
        'a section (a dict), a list of them, or None',
        lambda value: _is_section(value) or _list_of(_is_section)(value),
    ),
    (
        r'.+\.pipeline',
        'a list of sections (dicts), or None',
        _list_of(lambda step: callable(step) or _is_section(step)),
    ),
    (
        r'(val|test)_evaluator(\.\d+)?\.metric',
        'a name, or a list of names',
        lambda value: _is_text(value) or _list_of(_is_text)(value),
    ),
    (
        rf'optim_wrapper\.optimizer\.lr|{_SCHEDULER}gamma|.+\.filter_cfg\.min_size|'
        r'default_hooks\.visualization\.score_thr',
        'a number from 0',
        _is_number,
    ),
    (rf'{_SCHEDULER}eta_min', 'a number from 0, or None', _is_number),
    (
        r'.+_dataloader\.(.+\.)?(data_root|ann_file|data_prefix\.img)',
        'a path, or None',
        _is_text,
    ),
)
_RULES = (*_WHOLE_NUMBERS, _FLAGS, *_OTHERS)


def check_values(cfg: Config, options: Iterable[str] = ()) -> None:
    """Refuse a value that the project cannot compute with; 9e4 becomes 90000 where a number counts.

    Args:
        cfg: changed in place.
        options: dotted paths that the command line has set.

    Raises:
        InputError: a value is not what has to stand there.
    """
    for parent, node in list(walk_paths(used_sections(cfg))):
        for key, value in list(node.items()):
            path = f'{parent}.{key}' if parent else key
            for rule in _RULES:
                if re.fullmatch(rule[0], path):
                    found = _checked(value, rule, f'{_source(cfg, path, options)}{path}')
                    # a Config stores a copy of a section
                    if found is not value:
                        (node if parent else cfg)[key] = found


def _checked(value: Any, rule: tuple[str, str, _Test], place: str) -> Any:
    _, words, fits = rule
    found = _made_whole(value) if rule in _WHOLE_NUMBERS else value
    if not (fits(found) or (found is None and words.endswith('or None'))):
        raise InputError(f'{place}={value!r}: give {words}')
    return bool(found) if rule is _FLAGS else found


def _made_whole(value: Any) -> Any:
    """9e4 is how people write 90000."""
    if isinstance(value, list | tuple):
        return type(value)(map(_made_whole, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _source(cfg: Config, path: str, options: Iterable[str]) -> str:
    """What the user gave the value with."""
    given = any(f'{path}.'.startswith(f'{option}.') for option in options)
    return '--cfg-options ' if given else f'{cfg.filename or "config"}: '

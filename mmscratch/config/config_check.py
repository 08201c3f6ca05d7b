"""Load a config, change it by ``--cfg-options``, and refuse misspelt keys before anything is built.

mmengine accepts any key: a misspelt one is ignored, or fails deep inside of some constructor
minutes later. Here each dict with a ``type`` is compared with the arguments of that class, each
section without a type with what mmengine 0.10.7 or MMDetection 3.3.0 reads from it. Of the values,
those are checked that this project computes with before MMEngine sees them.
"""

import ast
import difflib
import functools
import math
import re
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config.arguments import accepted_arguments
from mmscratch.config.runner_config import HOOKS_OF_MMENGINE
from mmscratch.errors import InputError

# Besides the arguments of mmengine's Runner: what Runner, MMDetection's tools and ours look up.
_TOP_LEVEL = frozenset(
    {
        'activation_checkpointing',
        'compile',
        'custom_imports',
        'default_scope',
        'drop_bad_boxes',
        'efficient_conv_bn_eval',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'runner_type',
        'sync_bn',
        'tta_model',
        'tta_pipeline',
    }
)
# Variables that most configs define for their own use.
_USUAL_VARIABLES = frozenset(
    {'data_root', 'dataset_type', 'metainfo', 'norm_cfg', 'test_pipeline', 'train_pipeline'}
)
# Where a dict with a type stands (the dotted path, first match counts) -> registry of MMDetection.
_REGISTRIES = (
    (r'^(default_hooks\.\w+|custom_hooks\.\d+)$', 'HOOKS'),
    (r'^(train|val|test)_cfg$', 'LOOPS'),
    (r'^(val|test)_evaluator(\.\d+)?$', 'METRICS'),
    (r'^optim_wrapper$', 'OPTIM_WRAPPERS'),
    (r'^optim_wrapper\.(.+\.)?optimizer$', 'OPTIMIZERS'),
    (r'^param_scheduler(\.\d+)?$', 'PARAM_SCHEDULERS'),
    (r'_dataloader\.(batch_)?sampler$', 'DATA_SAMPLERS'),
    (r'_dataloader\.(.+\.)?(dataset|datasets\.\d+)$', 'DATASETS'),
    (r'(pipeline|\.transforms)(\.\d+)+$', 'TRANSFORMS'),
    (r'^visualizer$', 'VISUALIZERS'),
    (r'vis_backends\.\d+$', 'VISBACKENDS'),
    (r'^log_processor$', 'LOG_PROCESSORS'),
    (r'init_cfg(\.\d+)?$|\.override(\.\d+)?$', 'WEIGHT_INITIALIZERS'),
    (r'(^|\.)(nms|roi_layer)$', 'mmcv.ops'),
    (r'\.(assigner|sampler|bbox_coder|anchor_generator|iou_calculator)$', 'TASK_UTILS'),
    (r'^tta_model$', 'MODELS'),
    (r'^model(\.(.+\.)?(backbone|neck|\w*head|\w*roi_extractor|loss_\w+)(\.\d+)?)?$', 'MODELS'),
)
# Of these, a dict without a type is always a mistake.
_TYPE_NEEDED = ('HOOKS', 'DATASETS', 'PARAM_SCHEDULERS', 'TRANSFORMS')
# Keys that a builder takes out before the class sees the rest.
_TAKEN_OUT = (
    (r'norm_cfg$', 'requires_grad'),
    (r'\.dcn$', 'fallback_on_stride deformable_groups'),
    (r'\.upsample_cfg$', 'scale_factor upsample_kernel'),
    (r'\.loss_cls$', 'bg_cls_weight'),
    (r'(^|\.)nms$', 'class_agnostic split_thr'),
    (r'init_cfg(\.\d+)?$', 'override'),
    (r'\.override(\.\d+)?$', 'name'),
    (r'_hooks\.\w+$', 'priority'),
    (r'^param_scheduler(\.\d+)?$', 'convert_to_iter_based'),
    (r'^optim_wrapper$', 'optimizer constructor paramwise_cfg'),
    (r'_dataloader$', 'num_batch_per_epoch'),
)
_RCNN_KEYS = (
    'alpha allowed_border assigner beta carl center_ratio conf_thr corner_topk debug '
    'distance_threshold dynamic_rcnn filter_low_score filter_thr ga_assigner ga_sampler '
    'ignore_ratio importance_sample_ratio init initial_assigner initial_epoch instance_on iou_thr '
    'isr kernel local_maximum_kernel mask_size mask_thr mask_thr_binary max_num_grid max_per_image '
    'max_per_img min_bbox_size neg_pos_ratio nms nms_post nms_pre num_points object_mask_thr '
    'oversample_ratio panoptic panoptic_on pos_radius pos_weight rcnn refine reg_assigner rpn '
    'rpn_proposal sampler scale_factor score_thr score_voting semantic_on sigma smoothl1_beta '
    'subdivision_num_points subdivision_steps top_k topk'
)
# Sections without a type: what is read from them, and whether that is all there can be.
_SECTIONS = (
    (r'^env_cfg$', 'cudnn_benchmark mp_cfg dist_cfg resource_limit', True),
    (r'^env_cfg\.mp_cfg$', 'mp_start_method opencv_num_threads', True),
    (r'^auto_scale_lr$', 'enable base_batch_size', True),
    (r'^randomness$', 'seed diff_rank_seed deterministic', True),
    (r'^custom_imports$', 'imports allow_failed_imports', True),
    (
        r'^optim_wrapper\.(.+\.)?clip_grad$',
        'type max_norm norm_type error_if_nonfinite foreach clip_value',
        True,
    ),
    (r'\.data_prefix$', 'img img_path seg sub_data_root', False),
    (r'\.filter_cfg$', 'filter_empty_gt min_size bbox_min_size', False),
    (r'\.metainfo$', 'classes palette', False),
    (r'^model\.(.+\.)?(train|test)_cfg(\.(rpn|rpn_proposal|rcnn)(\.\d+)?)?$', _RCNN_KEYS, False),
)
# The same, for optim_wrapper without a constructor of its own.
_PARAMWISE_SECTIONS = (
    (
        r'^optim_wrapper\.paramwise_cfg$',
        'custom_keys bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult '
        'dwconv_decay_mult dcn_offset_lr_mult bypass_duplicate',
        True,
    ),
    (r'^optim_wrapper\.paramwise_cfg\.custom_keys\..+$', 'lr_mult decay_mult', True),
)


def _section(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise ValueError


def _sections(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value):
        return value
    return _section(value)


def _whole(least: int, most: float = math.inf) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        # 9e4 is how people write 90000
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError
        return type(value)(map(read, value))

    return read_all


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if value not in (True, False):
        raise ValueError
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _class(value: Any) -> Any:
    return value if callable(value) else _text(value)


def _or_else(other: Any, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if value == other else read(value)


# What the project's own code computes with: dotted path, what has to stand there, and a function
# that returns it, or raises ValueError. What MMEngine and torch check is left to them.
_SCHEDULER = r'param_scheduler(\.\d+)?\.'
_VALUES: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    (r'.+\.type', 'the name of a class', _class),
    (r'model|env_cfg|.+_dataloader\.(.+\.)?dataset', 'a section (a dict)', _section),
    (
        r'(train|val|test)_(cfg|dataloader)|.+_dataloader\.(sampler|(.+\.)?filter_cfg)|randomness|'
        r'optim_wrapper(\.optimizer)?|auto_scale_lr|default_hooks(\.\w+)?|log_processor',
        'a section (a dict), or None',
        _or_else(None, _section),
    ),
    (
        r'(val|test)_evaluator|param_scheduler',
        'a section (a dict), a list of them, or None',
        _or_else(None, _sections),
    ),
    (
        r'.+_dataloader\.batch_size|train_cfg\.(max_iters|val_interval|accumulation)|'
        r'optim_wrapper\.accumulative_counts|auto_scale_lr\.base_batch_size|'
        r'default_hooks\.(logger\.interval|visualization\.min_side|finite_loss\.max_skipped)|'
        rf'log_processor\.window_size|{_SCHEDULER}(end|step_size)',
        'a whole number from 1',
        _whole(1),
    ),
    (
        r'.+\.pipeline',
        'a list of sections (dicts), or None',
        _or_else(None, _list_of(lambda step: step if callable(step) else _section(step))),
    ),
    (
        r'(val|test)_evaluator(\.\d+)?\.metric',
        'a name, or a list of names',
        lambda value: value if isinstance(value, str) else _list_of(_text)(value),
    ),
    (
        r'(val|test)_evaluator(\.\d+)?\.proposal_nums',
        'a list of whole numbers from 1, or None',
        _or_else(None, _list_of(_whole(1))),
    ),
    (r'.+_dataloader\.num_workers', 'a whole number from 0', _whole(0)),
    (
        rf'{_SCHEDULER}T_max|.+_dataloader\.prefetch_factor',
        'a whole number from 1, or None',
        _or_else(None, _whole(1)),
    ),
    (
        r'default_hooks\.checkpoint\.interval',
        'a whole number from 1, or -1 for never',
        _or_else(-1, _whole(1)),
    ),
    (
        r'train_dataloader\.sampler\.subset',
        'a number of images from 1, a file of image ids, or None',
        _or_else(
            None, lambda value: value if value and isinstance(value, str) else _whole(1)(value)
        ),
    ),
    (
        r'train_cfg\.val_begin|default_hooks\.(checkpoint\.save_begin|start_cascade\.begin|'
        rf'visualization\.num_images)|{_SCHEDULER}begin',
        'a whole number from 0',
        _whole(0),
    ),
    (
        r'randomness\.seed|train_dataloader\.sampler\.seed',
        'a whole number from 0 to 4294967295, or None',
        _or_else(None, _whole(0, 2**32 - 1)),
    ),
    (rf'{_SCHEDULER}milestones', 'a list of whole numbers from 0', _list_of(_whole(0))),
    (rf'{_SCHEDULER}periods', 'a list of whole numbers from 1', _list_of(_whole(1))),
    (
        r'train_cfg\.dynamic_intervals',
        'a list of pairs of whole numbers, or None',
        _or_else(None, _list_of(_list_of(_whole(0)))),
    ),
    (
        rf'optim_wrapper\.optimizer\.lr|{_SCHEDULER}gamma|.+\.filter_cfg\.min_size|'
        r'default_hooks\.visualization\.score_thr',
        'a number from 0',
        _number,
    ),
    (rf'{_SCHEDULER}eta_min', 'a number from 0, or None', _or_else(None, _number)),
    (
        r'drop_bad_boxes|auto_scale_lr\.enable|.+\.filter_cfg\.filter_empty_gt|'
        rf'train_dataloader\.sampler\.shuffle|{_SCHEDULER}by_epoch',
        'True or False',
        _flag,
    ),
    (
        r'.+_dataloader\.(.+\.)?(data_root|ann_file|data_prefix\.img)',
        'a path, or None',
        _or_else(None, _text),
    ),
)
_ALWAYS = frozenset({'type', '_scope_', '_delete_'})
_SCOPES = ('mmdet', 'mmengine', 'mmcv')
_NEAR = 0.85  # Similarity, by difflib, from which an unknown name is taken for a misspelt one.


@dataclass(frozen=True)
class _Allowed:
    """Keys of one dict; without `strict` others are fine, unless they look misspelt."""

    owner: str
    names: frozenset[str]
    strict: bool = True

    def refuses(self, key: str) -> bool:
        if key in self.names or key in _ALWAYS:
            return False
        return self.strict or _nearest(key, self.names, _NEAR) is not None


def load(path: Path, options: Mapping[str, Any] | None = None) -> Config:
    """The config of `path` with `options` in it; InputError for anything wrong with either."""
    path = Path(path)
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob('*.py')]
        raise InputError(f'{path}: no such config file{_hint(path.name, siblings)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # A config is a program: it can raise anything.
        raise InputError(_describe(path, error)) from error
    apply_options(cfg, options or {})
    check_values(cfg, options or {})
    return cfg


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge ``{'a.b.c': value}`` into `cfg`; InputError for a path that means nothing there."""
    for option, value in options.items():
        _check_option(cfg, option)
        if value is None and re.fullmatch(r'default_hooks\.\w+', option):
            _check_disabled_hook(cfg, option.partition('.')[2])
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f'--cfg-options: cannot be merged ({_one_line(error)}); give the whole section'
        ) from error


def _check_disabled_hook(cfg: Config, name: str) -> None:
    known = {*(cfg.get('default_hooks') or {}), *HOOKS_OF_MMENGINE}
    if name not in known:
        raise InputError(
            f"--cfg-options default_hooks.{name}=None: there is no hook '{name}' to disable"
            f'{_hint(name, known)}'
        )


def check_keys(cfg: Config) -> None:
    """Refuse a key, or a name of a class, that nothing in MMDetection or here knows."""
    known = _top_level_keys() | _USUAL_VARIABLES
    for key in cfg:
        near = difflib.get_close_matches(key, known, 1, _NEAR)
        # val_evaluator_2 or coco_train_dataloader is a variable of the config's own.
        if key not in known and near and not re.search(rf'(^|_){near[0]}(_|\d|$)', key):
            raise InputError(f"{_name(cfg)}: unknown section '{key}'; did you mean '{near[0]}'?")
    for path, node in walk(_used_sections(cfg)):
        if path:
            _check_type(cfg, path, node)
            _check_node(cfg, path, node)


def check_values(cfg: Config, options: Iterable[str] = ()) -> None:
    """Refuse a value that the project could not compute with; 9e4 becomes 90000 where it counts.

    `options` are the dotted paths that the command line has set.
    """
    for parent, node in list(walk(_used_sections(cfg))):
        for key, value in list(node.items()):
            path = f'{parent}.{key}' if parent else key
            for rule, words, read in _VALUES:
                if not re.fullmatch(rule, path):
                    continue
                try:
                    found = read(value)
                except ValueError:
                    raise InputError(
                        f'{_source(cfg, path, options)}{path}={value!r}: give {words}'
                    ) from None
                if found is not value:
                    (node if parent else cfg)[key] = found


def require(cfg: Config, *paths: str) -> None:
    """Refuse a config that lacks one of the dotted paths."""
    for path in paths:
        node: Any = cfg
        keys = path.split('.')
        for depth, key in enumerate(keys, start=1):
            node = node.get(key)
            if node is None:
                raise InputError(f'{_name(cfg)}: {".".join(keys[:depth])} is missing; set it')


def _source(cfg: Config, path: str, options: Iterable[str]) -> str:
    """What the user gave the value with."""
    given = any(f'{path}.'.startswith(f'{option}.') for option in options)
    return '--cfg-options ' if given else f'{_name(cfg)}: '


def _used_sections(cfg: Config) -> dict[str, Any]:
    """The config without its variables, which matter only where they were used."""
    return {key: value for key, value in cfg.items() if key in _top_level_keys()}


def _check_node(cfg: Config, path: str, node: Mapping[str, Any]) -> None:
    allowed = _allowed(cfg, path, node)
    for key, value in node.items():
        if allowed and allowed.refuses(key):
            shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + '...'
            raise InputError(
                f"{_name(cfg)}: {path}.{key}={shown}: {allowed.owner} has no argument '{key}'"
                f'{_hint(key, allowed.names)}'
            )


def _check_type(cfg: Config, path: str, node: Mapping[str, Any]) -> None:
    """Refuse a type that no registry holds, or none, where there must be the name of a class."""
    kind = node.get('type')
    if kind is None and _registry_at(path) in _TYPE_NEEDED:
        parent, _, key = path.rpartition('.')
        siblings = cfg.get(parent) or {}
        hint = _hint(key, set(siblings) - {key}) if isinstance(siblings, dict) else '; add one'
        raise InputError(f"{_name(cfg)}: {path} has no 'type'{hint}")
    if not isinstance(kind, str) or _foreign(node) or _candidates(path, kind):
        return
    registry = _registry_at(path)
    everything = {name for names in _registered().values() for name in names}
    if registry or difflib.get_close_matches(kind, everything, 1, _NEAR):
        names = _registered()[registry] if registry else everything
        raise InputError(
            f"{_name(cfg)}: {path}.type='{kind}': nothing of that name is registered"
            f'{_hint(kind, names)}'
        )


def _check_option(cfg: Config, option: str) -> None:
    first, *keys = option.split('.')
    known = _top_level_keys()
    if first not in known:
        if first not in cfg:
            deeper = [
                f'{path}.{first}' for path, node in walk(_used_sections(cfg)) if first in node
            ]
            hint = f"; did you mean '{deeper[0]}'?" if deeper else _hint(first, known)
            raise InputError(f"--cfg-options {option}: the config has no '{first}'{hint}")
        raise InputError(
            f"--cfg-options {option}: '{first}' is a variable inside of {_name(cfg)}, which has "
            f'been used already; set {_uses(cfg, first)}'
        )
    node, path = cfg.get(first), first
    for key in keys:
        if isinstance(node, list | tuple):
            if not (key.isdigit() and int(key) < len(node)):
                raise InputError(
                    f"--cfg-options {option}: {path} is a list of {len(node)}; '{key}' is not the "
                    f'number of an entry, 0 to {len(node) - 1}'
                )
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            _check_new_key(cfg, option, path, node, key)
            return  # What is new, check_keys sees once it is merged.
        path = f'{path}.{key}'


def _check_new_key(cfg: Config, option: str, path: str, node: Any, key: str) -> None:
    if node is None:
        return
    if not isinstance(node, dict):
        raise InputError(f'--cfg-options {option}: {path} is {node!r}, not a section; set {path}')
    allowed = _allowed(cfg, path, node)
    if allowed is None or key in allowed.names | _ALWAYS:
        return
    if 'type' not in node or allowed.refuses(key):
        raise InputError(
            f"--cfg-options {option}: {path} ({allowed.owner}) has no '{key}'"
            f'{_hint(key, allowed.names | set(node))}'
        )


def _uses(cfg: Config, variable: str) -> str:
    """Where a top-level variable went, for the user to set instead."""
    value = cfg[variable]
    named = isinstance(value, bool | int | float) or value is None
    places = [
        f'{path}.{key}'
        for path, node in walk(_used_sections(cfg))
        for key, item in node.items()
        if path and (key == variable or not named) and _unscoped(item) == _unscoped(value)
    ]
    return ' and '.join(places[:3]) or 'what was made of it'


def _unscoped(value: Any) -> Any:
    """`value` without the scopes that mmengine adds to what comes from ``mmdet::`` bases."""
    if isinstance(value, dict):
        return {key: _unscoped(item) for key, item in value.items() if key != '_scope_'}
    return [_unscoped(item) for item in value] if isinstance(value, list) else value


def _allowed(cfg: Config, path: str, node: Mapping[str, Any]) -> _Allowed | None:
    """What may be in the dict at `path`; None where anything may."""
    if _foreign(node):
        return None
    extra = frozenset(' '.join(n for rule, n in _TAKEN_OUT if re.search(rule, path)).split())
    kind = node.get('type')
    implied = None if kind else _implied_class(path, node)
    if kind or implied:
        classes = _candidates(path, kind) if kind else [implied]
        if not classes:
            return None
        names, complete = zip(*map(accepted_arguments, classes))
        if path == 'train_cfg' and not kind:
            extra |= {'by_epoch'}
        return _Allowed(classes[0].__name__, extra.union(*names), all(complete))
    sections = _SECTIONS
    if not (cfg.get('optim_wrapper') or {}).get('constructor'):
        sections += _PARAMWISE_SECTIONS
    for rule, names, strict in sections:
        if re.search(rule, path):
            return _Allowed(path, frozenset(names.split()), strict)
    return None


def _implied_class(path: str, node: Mapping[str, Any]) -> type | None:
    """The class mmengine's Runner takes for a section that names none."""
    from mmengine import runner
    from mmengine.optim import OptimWrapper
    from torch.utils.data import DataLoader

    if re.fullmatch(r'(train|val|test)_dataloader', path):
        return DataLoader
    if path == 'train_cfg':
        by_epoch = node.get('by_epoch', True)
        return runner.EpochBasedTrainLoop if by_epoch else runner.IterBasedTrainLoop
    return {
        'val_cfg': runner.ValLoop,
        'test_cfg': runner.TestLoop,
        'log_processor': runner.LogProcessor,
        'optim_wrapper': None if 'optimizer' not in node else OptimWrapper,
    }.get(path)


def _foreign(node: Mapping[str, Any]) -> bool:
    """Whether it is a class of a package such as mmpretrain, which need not be installed."""
    kind = node.get('type')
    scope = kind.partition('.')[0] if isinstance(kind, str) and '.' in kind else ''
    return (scope or node.get('_scope_') or 'mmdet') not in _SCOPES


def _candidates(path: str, kind: str | Callable[..., Any]) -> list[Callable[..., Any]]:
    """The classes or functions that the type can mean, those of the place's registry if any."""
    if not isinstance(kind, str):
        return [kind]
    name = kind.rpartition('.')[2]
    registered = _registered()
    here = registered.get(_registry_at(path) or '', {})
    if name in here:
        return [here[name]]
    return [names[name] for names in registered.values() if name in names]


def _registry_at(path: str) -> str | None:
    return next((registry for rule, registry in _REGISTRIES if re.search(rule, path)), None)


@functools.cache
def _registered() -> dict[str, Mapping[str, Callable[..., Any]]]:
    """Registry -> name -> class, as live views: classes registered later are seen too."""
    import mmcv.ops
    from mmdet import registry as registries

    views: dict[str, Mapping[str, Any]] = {'mmcv.ops': vars(mmcv.ops)}
    for attribute in {name for _, name in _REGISTRIES} - {'mmcv.ops'} | {'EVALUATOR'}:
        registry = getattr(registries, attribute)
        registry.import_from_location()
        views[attribute] = ChainMap(registry.module_dict, registry.parent.module_dict)
    return views


def registered_names() -> frozenset[str]:
    """Every name that a ``type`` can have without an import from elsewhere."""
    names = (name for names in _registered().values() for name in names)
    return frozenset(name for name in names if not name.startswith('_'))


def is_registered(thing: Any) -> bool:
    """Whether a registry holds this very object."""
    return any(
        thing is known
        for names in _registered().values()
        for name, known in names.items()
        if not name.startswith('_')
    )


def _top_level_keys() -> frozenset[str]:
    from mmengine.runner import Runner

    return accepted_arguments(Runner)[0] | _TOP_LEVEL


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict below `node` with its dotted path, parents first."""
    if isinstance(node, dict):
        yield path, node
        if str(node.get('type', '')).endswith('Albu'):
            return  # The types within are albumentations'.
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            yield from walk(value, f'{path}.{key}' if path else str(key))


def _nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    by_lower = {known.lower(): known for known in sorted(names)}
    near = difflib.get_close_matches(name.lower(), by_lower, 1, cutoff)
    return by_lower[near[0]] if near else None


def _hint(name: str, names: Iterable[str]) -> str:
    near = _nearest(name, names)
    if near:
        return f"; did you mean '{near}'?"
    known = sorted(names)
    return f'; there are {", ".join(known)}' if 0 < len(known) <= 20 else '; remove or correct it'


def _name(cfg: Config) -> str:
    return cfg.filename or 'config'


def _one_line(error: Exception) -> str:
    while isinstance(error, ImportError) and error.__context__:
        error = error.__context__  # What it began with; mmengine's own text is the whole sys.path.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ' '.join(str(text).split()) or type(error).__name__


def _describe(path: Path, error: Exception) -> str:
    """One line on why the config, or one it inherits from, cannot be loaded."""
    frames = list(traceback.walk_tb(error.__traceback__))
    parsing = ('_file2dict', '_is_lazy_import')  # Of mmengine's Config: each works on one file.
    files = [f.f_locals['filename'] for f, _ in frames if f.f_code.co_name in parsing]
    file = Path(files[-1]) if files else path
    if not file.is_file():
        parent = next((name for name in reversed(files) if Path(name) != file), path)
        return f'{parent}: its _base_ {file} does not exist; correct the path'
    if isinstance(error, SyntaxError):
        try:
            ast.parse(file.read_text(encoding='utf-8'))
        except SyntaxError as cause:
            return f'{file}: line {cause.lineno}: {cause.msg}; correct the Python there'
    lines = [line for f, line in frames if f.f_code.co_filename == str(file)]
    where = f'{file}: line {lines[-1]}' if lines else str(file)
    return f'{where}: {type(error).__name__}: {_one_line(error)}; correct the config'

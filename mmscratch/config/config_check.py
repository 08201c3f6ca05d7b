"""Load a config, change it by ``--cfg-options``, and refuse misspelt keys before anything is built.

MMEngine accepts any key. It ignores a misspelt one, or some constructor fails at it minutes later.
Here each dict with a ``type`` is compared with the arguments of that class, each section without a
type with what MMEngine 0.10.7 or MMDetection 3.3.0 reads from it.
"""

import ast
import difflib
import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.config.config_values import check_values
from mmscratch.config.registered_classes import (
    accepted_arguments,
    classes_named,
    registered,
    registry_at,
)
from mmscratch.config.runner_config import HOOKS_OF_MMENGINE
from mmscratch.config.sections import top_level_keys, type_name, used_sections, walk_paths
from mmscratch.errors import InputError

# Variables that most configs define for their own use.
_USUAL_VARIABLES = frozenset(
    {'data_root', 'dataset_type', 'metainfo', 'norm_cfg', 'test_pipeline', 'train_pipeline'}
)
# A dict that one of these registries builds needs a type.
_TYPE_NEEDED = ('HOOKS', 'DATASETS', 'PARAM_SCHEDULERS', 'TRANSFORMS')
# Keys that a builder removes before it passes the others to the class.
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
# Sections without a type: the keys that are read from them, and whether all others are refused.
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
    (
        r'^optim_wrapper\.paramwise_cfg$',
        'custom_keys bias_lr_mult bias_decay_mult norm_decay_mult flat_decay_mult '
        'dwconv_decay_mult dcn_offset_lr_mult bypass_duplicate',
        True,
    ),
    (r'^optim_wrapper\.paramwise_cfg\.custom_keys\..+$', 'lr_mult decay_mult', True),
    (r'\.data_prefix$', 'img img_path seg sub_data_root', False),
    (r'\.filter_cfg$', 'filter_empty_gt min_size bbox_min_size', False),
    (r'\.metainfo$', 'classes palette', False),
    (r'^model\.(.+\.)?(train|test)_cfg(\.(rpn|rpn_proposal|rcnn)(\.\d+)?)?$', _RCNN_KEYS, False),
)

_ALWAYS = frozenset({'type', '_scope_', '_delete_'})
_SCOPES = ('mmdet', 'mmengine', 'mmcv')
_NEAR = 0.85  # similarity, by difflib, from which an unknown name is taken for a misspelt one


@dataclass(frozen=True)
class _Allowed:
    """The keys of a dict. Unless `strict`, others are accepted too if they do not look misspelt."""

    owner: str
    names: frozenset[str]
    strict: bool = True

    def refuses(self, key: str) -> bool:
        if key in self.names or key in _ALWAYS:
            return False
        return self.strict or _nearest(key, self.names, _NEAR) is not None


def load(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config and apply `options`. Raise InputError for a fault in either."""
    path = Path(path)
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob('*.py')]
        raise InputError(f'{path}: no such config file{_hint(path.name, siblings)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program: it can raise anything
        raise InputError(_describe(path, error)) from error
    apply_options(cfg, options or {})
    check_values(cfg, options or {})
    return cfg


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge ``{'a.b.c': value}`` into `cfg`. Raise InputError for a path that the config lacks."""
    for option, value in options.items():
        _check_option(cfg, option)
        hook = re.fullmatch(r'default_hooks\.(\w+)', option)
        known = {*(cfg.get('default_hooks') or {}), *HOOKS_OF_MMENGINE}
        if value is None and hook and hook[1] not in known:
            raise InputError(
                f"--cfg-options {option}=None: there is no hook '{hook[1]}' to disable"
                f'{_hint(hook[1], known)}'
            )
    try:
        cfg.merge_from_dict(dict(options))
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f'--cfg-options: cannot be merged ({_one_line(error)}); give the whole section'
        ) from error


def require(cfg: Config, *paths: str) -> None:
    """Refuse a config that lacks one of the dotted paths."""
    for path in paths:
        node: Any = cfg
        for key in path.split('.'):
            node = node.get(key)
            if node is None:
                raise InputError(f'{cfg.filename}: {path} is missing; set it')


def check_keys(cfg: Config) -> None:
    """Refuse keys and class names that neither MMDetection nor this project knows."""
    known = top_level_keys() | _USUAL_VARIABLES
    for key in cfg:
        near = difflib.get_close_matches(key, known, 1, _NEAR)
        # val_evaluator_2 or coco_train_dataloader is a variable of the config's own
        if key not in known and near and not re.search(rf'(^|_){near[0]}(_|\d|$)', key):
            raise InputError(f"{cfg.filename}: unknown section '{key}'; did you mean '{near[0]}'?")
    nodes = dict(walk_paths(used_sections(cfg)))
    # the types within are albumentations'
    skipped = tuple(f'{path}.' for path, node in nodes.items() if type_name(node) == 'Albu')
    for path, node in nodes.items():
        if path and not path.startswith(skipped):
            _check_type(cfg, path, node)
            allowed = _allowed(cfg, path, node)
            for key, value in node.items():
                if allowed and allowed.refuses(key):
                    raise InputError(
                        f'{cfg.filename}: {path}.{key}={value!r:.60}: {allowed.owner} has no '
                        f"argument '{key}'{_hint(key, allowed.names)}"
                    )


def _check_type(cfg: Config, path: str, node: Mapping[str, Any]) -> None:
    """Refuse a type that no registry has, and a missing type where a registry needs one."""
    kind, registry = node.get('type'), registry_at(path)
    if kind is None and registry in _TYPE_NEEDED:
        parent, _, key = path.rpartition('.')
        siblings = cfg.get(parent) or {}
        hint = _hint(key, set(siblings) - {key}) if isinstance(siblings, dict) else '; add one'
        raise InputError(f"{cfg.filename}: {path} has no 'type'{hint}")
    if not isinstance(kind, str) or _is_foreign(node) or classes_named(path, kind):
        return
    names = {name for names in registered().values() for name in names}
    # without a known registry, the type may be in one that is not searched here
    if registry or difflib.get_close_matches(kind, names, 1, _NEAR):
        raise InputError(
            f"{cfg.filename}: {path}.type='{kind}': nothing of that name is registered"
            f'{_hint(kind, registered()[registry] if registry else names)}'
        )


def _check_option(cfg: Config, option: str) -> None:
    """Refuse a path that leads nowhere. `check_keys` checks the new keys after the merge."""
    path, *keys = option.split('.')
    if path not in top_level_keys():
        raise InputError(f'--cfg-options {option}: {_no_section(cfg, path)}')
    node = cfg.get(path)
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
        elif node is None:
            return
        elif not isinstance(node, dict):
            raise InputError(
                f'--cfg-options {option}: {path} is {node!r}, not a section; set {path}'
            )
        else:
            allowed = _allowed(cfg, path, node)
            if (
                allowed
                and key not in allowed.names | _ALWAYS
                and ('type' not in node or allowed.refuses(key))
            ):
                raise InputError(
                    f"--cfg-options {option}: {path} ({allowed.owner}) has no '{key}'"
                    f'{_hint(key, allowed.names | set(node))}'
                )
            return
        path = f'{path}.{key}'


def _no_section(cfg: Config, name: str) -> str:
    """Say why a name at the top level cannot be set, and what can be set instead."""
    sections = [(f'{path}.' if path else '', node) for path, node in walk_paths(used_sections(cfg))]
    if name not in cfg:
        deeper = [f'{path}{name}' for path, node in sections if name in node]
        hint = f"; did you mean '{deeper[0]}'?" if deeper else _hint(name, top_level_keys())
        return f"the config has no '{name}'{hint}"
    value = cfg[name]
    # many keys have the same number as value
    by_name = isinstance(value, bool | int | float) or value is None
    places = [
        f'{path}{key}'
        for path, node in sections
        for key, item in node.items()
        if path and (key == name or not by_name) and _unscoped(item) == _unscoped(value)
    ]
    return (
        f"'{name}' is a variable inside of {cfg.filename}, which has been used already; set "
        f'{" and ".join(places[:3]) or "what was made of it"}'
    )


def _unscoped(value: Any) -> Any:
    """`value` without the scopes that MMEngine adds to what comes from ``mmdet::`` bases."""
    if isinstance(value, dict):
        return {key: _unscoped(item) for key, item in value.items() if key != '_scope_'}
    return [_unscoped(item) for item in value] if isinstance(value, list) else value


def _allowed(cfg: Config, path: str, node: Mapping[str, Any]) -> _Allowed | None:
    """The keys that the dict at `path` may have; None for any."""
    if _is_foreign(node):
        return None
    kind = node.get('type') or _implied_class(path, node)
    if kind:
        classes = classes_named(path, kind)
        if not classes:
            return None
        names, closed = zip(*map(accepted_arguments, classes))
        taken_out = ' '.join(keys for rule, keys in _TAKEN_OUT if re.search(rule, path)).split()
        if path == 'train_cfg' and 'type' not in node:
            taken_out.append('by_epoch')
        return _Allowed(classes[0].__name__, frozenset(taken_out).union(*names), all(closed))
    # a constructor of the config's own takes other keys
    if path.startswith('optim_wrapper.paramwise_cfg') and cfg.optim_wrapper.get('constructor'):
        return None
    for rule, keys, strict in _SECTIONS:
        if re.search(rule, path):
            return _Allowed(path, frozenset(keys.split()), strict)
    return None


def _implied_class(path: str, node: Mapping[str, Any]) -> type | None:
    """The class that MMEngine's Runner uses for a section without a type."""
    from mmengine import runner
    from mmengine.optim import OptimWrapper
    from torch.utils.data import DataLoader

    by_epoch = node.get('by_epoch', True)
    implied = {
        'train_dataloader': DataLoader,
        'val_dataloader': DataLoader,
        'test_dataloader': DataLoader,
        'train_cfg': runner.EpochBasedTrainLoop if by_epoch else runner.IterBasedTrainLoop,
        'val_cfg': runner.ValLoop,
        'test_cfg': runner.TestLoop,
        'log_processor': runner.LogProcessor,
    }
    if 'optimizer' in node:
        implied['optim_wrapper'] = OptimWrapper
    return implied.get(path)


def _is_foreign(node: Mapping[str, Any]) -> bool:
    """Whether the type is of a package such as mmpretrain, which may not be installed."""
    kind = node.get('type')
    scope = kind.partition('.')[0] if isinstance(kind, str) and '.' in kind else ''
    return (scope or node.get('_scope_') or 'mmdet') not in _SCOPES


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


def _one_line(error: BaseException) -> str:
    while isinstance(error, ImportError) and error.__context__:
        error = error.__context__  # the first error; mmengine's text is the whole sys.path
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ' '.join(str(text).split()) or type(error).__name__


def _describe(path: Path, error: Exception) -> str:
    """Say in one line why the config, or a base of it, cannot be loaded."""
    frames = list(traceback.walk_tb(error.__traceback__))
    parsing = ('_file2dict', '_is_lazy_import')  # functions of MMEngine's Config that read a file
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

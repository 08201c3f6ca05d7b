"""The classes that a ``type`` in a config can name, and the arguments that they take."""

import functools
import inspect
import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

# Dotted path of a dict with a type (the first match counts) -> registry of MMDetection.
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
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def registry_at(path: str) -> str | None:
    """The registry that builds the dict at a dotted path; None if that is unknown."""
    return next((registry for rule, registry in _REGISTRIES if re.search(rule, path)), None)


@functools.cache
def registered() -> dict[str, Mapping[str, Callable[..., Any]]]:
    """Registry -> name -> class, as live views that include classes that are registered later."""
    import mmcv.ops
    from mmdet import registry as registries

    views: dict[str, Mapping[str, Any]] = {'mmcv.ops': vars(mmcv.ops)}
    for attribute in {name for _, name in _REGISTRIES} - {'mmcv.ops'} | {'EVALUATOR'}:
        registry = getattr(registries, attribute)
        registry.import_from_location()
        views[attribute] = ChainMap(registry.module_dict, registry.parent.module_dict)
    return views


def classes_named(path: str, kind: str | Callable[..., Any]) -> list[Callable[..., Any]]:
    """The classes or functions of that name: in the registry of the path, else in all."""
    if not isinstance(kind, str):
        return [kind]
    name = kind.rpartition('.')[2]
    here = registered().get(registry_at(path) or '', {})
    if name in here:
        return [here[name]]
    return [names[name] for names in registered().values() if name in names]


def registered_names() -> frozenset[str]:
    """All names that a ``type`` can have without another import."""
    names = (name for names in registered().values() for name in names)
    return frozenset(name for name in names if not name.startswith('_'))


def is_registered(thing: Any) -> bool:
    """Whether a registry contains this object."""
    return any(
        thing is known
        for names in registered().values()
        for name, known in names.items()
        if not name.startswith('_')
    )


@functools.cache
def accepted_arguments(target: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the keyword arguments of a class or function, and whether it refuses all others.

    A class with ``**kwargs`` takes the names of its parents too. It may take any others, unless it
    is a class of mmscratch: those pass ``**kwargs`` to a parent, and do nothing else with them.
    """
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return frozenset(), False
    names = frozenset(p.name for p in parameters if p.kind in _BY_KEYWORD)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        return names, True
    parents = [accepted_arguments(base) for base in getattr(target, '__bases__', ())]
    closed = target.__module__.startswith('mmscratch.') and all(closed for _, closed in parents)
    return names.union(*(theirs for theirs, _ in parents)), closed

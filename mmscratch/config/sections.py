"""The sections (dicts) of a config."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmscratch.config.registered_classes import accepted_arguments

# Keys that MMEngine's Runner, MMDetection's tools and ours read, besides the Runner's arguments.
_TOP_LEVEL = (
    'activation_checkpointing compile custom_imports default_scope drop_bad_boxes '
    'efficient_conv_bn_eval find_unused_parameters resolution_factor model_wrapper_cfg runner_type '
    'sync_bn tta_model tta_pipeline'
)


def top_level_keys() -> frozenset[str]:
    """The keys of a config that a tool reads; all others are variables of the config."""
    from mmengine.runner import Runner

    return accepted_arguments(Runner)[0].union(_TOP_LEVEL.split())


def used_sections(cfg: Config) -> dict[str, Any]:
    """The config without its variables."""
    return {key: value for key, value in cfg.items() if key in top_level_keys()}


def walk_paths(node: Any, path: str = '') -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every dict in ``node``, itself included, with its dotted path; parents come first.

    The items of lists have their number in the path: ``dataset.pipeline.2``. A dict may be changed
    once it has been yielded; its new content is walked too.
    """
    if isinstance(node, dict):
        yield path, node
        items: Any = list(node.items())
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        yield from walk_paths(value, f'{path}.{key}' if path else str(key))


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every dict in ``node``, itself included; parents come first."""
    return (section for _, section in walk_paths(node))


def type_name(node: Mapping[str, Any]) -> str:
    """The name of the section's class, without scope or module; '' if it has none."""
    kind = node.get('type') or ''
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def as_list(sections: Any) -> list[dict[str, Any]]:
    """The sections of a key, such as val_evaluator, whose value is a section, a list or None."""
    return [sections] if isinstance(sections, dict) else list(sections or [])

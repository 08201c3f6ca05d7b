"""What distinguishes the configs of several runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmscratch.config.sections import used_sections


def difference(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """The dotted paths at which configs differ, each with the value of every config.

    A list of dicts, such as a pipeline, is compared entry by entry. Variables of a config are left
    out, as no tool reads them, and so is ``work_dir``, which always differs. A config that lacks
    the path has ``None`` there.
    """
    flat = [dict(_leaves(used_sections(config))) for config in configs]
    paths = dict.fromkeys(path for each in flat for path in each if path != 'work_dir')
    values = {path: [each.get(path) for each in flat] for path in paths}
    return {path: row for path, row in values.items() if any(each != row[0] for each in row)}


def _leaves(value: Any, path: str = '') -> list[tuple[str, Any]]:
    parts: Iterable[tuple[Any, Any]]
    match value:
        case Mapping() if value:
            parts = value.items()
        case list() | tuple() if any(isinstance(part, Mapping) for part in value):
            parts = enumerate(value)
        case _:
            # a config file's tuple is a list in another dump
            return [(path, list(value) if isinstance(value, tuple) else value)]
    below = f'{path}.' if path else ''
    return [leaf for key, part in parts for leaf in _leaves(part, f'{below}{key}')]

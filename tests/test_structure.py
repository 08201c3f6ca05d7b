"""The packages of mmscratch import each other in one direction."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmscratch'


def imported(file: Path) -> Iterator[str]:
    """The parts of mmscratch that a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [each.name for each in getattr(node, 'names', []) if isinstance(each, ast.alias)]
        if isinstance(node, ast.ImportFrom):
            names = [f'{node.module}.{name}' for name in names]
        for first, *rest in (name.split('.') for name in names):
            if first == 'mmscratch' and rest:
                yield rest[0]


def test_no_cycle_of_packages():
    needs: dict[str, set[str]] = {}
    for file in PACKAGE.rglob('*.py'):
        part = file.relative_to(PACKAGE).parts[0].removesuffix('.py')
        # that file imports all packages, and nothing but their registered names is taken from it
        if part != 'register_all':
            needs.setdefault(part, set()).update({*imported(file)} - {part, 'register_all'})
    assert needs['data'] >= {'config', 'process'}
    assert not needs['process']
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f'a cycle, each imported by the next: {" -> ".join(error.args[1])}')

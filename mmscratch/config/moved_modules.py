"""Configs that name modules of mmscratch which are elsewhere now."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


class MovedModuleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes a module that mmscratch no longer has an empty one, whose import registers everything.

    Configs that were dumped or released name in ``custom_imports`` what they needed when they were
    written, such as ``mmscratch.checkpoint``. All they want of it is that classes are registered.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module below mmscratch that no other finder knows; this one comes last."""
        if not fullname.startswith('mmscratch.'):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Register every class."""
        importlib.import_module('mmscratch.register_all')


def install() -> None:
    """Append the finder to ``sys.meta_path``, once."""
    if not any(isinstance(finder, MovedModuleFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedModuleFinder())

"""Keeps old configs loading: modules of mmscratch that they import, and that have moved since."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

# What configs have named in custom_imports, and what has moved since.
NAMED = frozenset(
    {
        'mmscratch.checkpoint',
        'mmscratch.datasets',
        'mmscratch.datasets.coco_keypoint_dataset',
        'mmscratch.datasets.voc_folder_dataset',
        'mmscratch.datasets.voc_with_difficult',
        'mmscratch.transforms',
    }
)


class MovedModuleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes each of ``NAMED`` an empty module, whose import registers every class.

    A config that was dumped or released names in ``custom_imports`` the modules of its time. It
    needs no more of them than that classes are registered.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of one of ``NAMED``, unless a finder before this one has found it."""
        if fullname not in NAMED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Register every class."""
        importlib.import_module('mmscratch.register_all')


def install() -> None:
    """Append the finder to ``sys.meta_path``, once."""
    if not any(isinstance(finder, MovedModuleFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedModuleFinder())

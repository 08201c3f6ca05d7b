"""Lets old configs import modules of mmscratch that have moved since."""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

# Modules that released configs name in custom_imports, and that have moved since.
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

    A dumped or released config names the modules of its time in ``custom_imports``. It imports
    them only to register their classes.
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

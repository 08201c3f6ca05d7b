"""Detectors trained from random initialization, on MMDetection.

The life of a run of ``tools/train.py``:

1. ``config`` checks keys and values, fits batch, learning rate and length, and claims the folder.
2. ``data`` points the config at the user's images and checks them; its ``samplers`` and the
   training loop (``loops``) choose the images of each step, the same on any number of GPUs.
3. ``weights`` loads a checkpoint, and translates its names to the model's.
4. ``hooks`` initialize and check the model before the first step, and watch it after each.
5. ``evaluation`` and ``visualization`` make numbers, curves and pictures of each validation.

A package imports those that stand before it here, and never one behind it: ``process``, ``config``
and ``ops``, ``weights``, ``data``, ``models``, ``evaluation`` and ``loops``, ``visualization``,
``hooks``, ``study``, ``benchmark``. ``command_line`` has the options that the tools share.

Import ``mmscratch`` before ``mmdet``: its ``ops`` supply the compiled operators that mmcv-lite
lacks.
"""

from mmscratch.ops import backend
from mmscratch.process import cpu_threads

__version__ = '0.1.0'

# before the first import of torch
cpu_threads.bound_spinning()
# before the first import of mmcv.ops, which looks for mmcv._ext
backend.install()

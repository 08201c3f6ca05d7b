"""Detectors trained from random initialization, on MMDetection."""

from mmscratch.ops import backend

__version__ = '0.1.0'

# Before anything imports mmcv.ops, which looks for mmcv._ext at once.
backend.install()

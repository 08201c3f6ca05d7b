"""Data transforms, registered in MMDetection's registry."""

from mmscratch.transforms.shrink_to_fit import ShrinkToFit

__all__ = ['ShrinkToFit']

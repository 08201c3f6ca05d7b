"""A stand-in for mmcv's compiled operators, on torchvision's kernels."""

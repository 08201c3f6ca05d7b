"""mmcv's compiled operators, from torchvision's kernels."""

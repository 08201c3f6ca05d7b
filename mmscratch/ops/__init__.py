"""mmcv's compiled operators, by torchvision's kernels or plain PyTorch."""

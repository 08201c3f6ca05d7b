# Knowledge preservation (Vasconcelos et al. 2022): R50-GN stays at its ImageNet weights, and the
# heads are a cascade's. Their 72 epochs are 6x. Not an experiment of the paper.
_base_ = './cascade_mask_rcnn_r50_gn_6x_ms.py'

default_hooks = dict(frozen_backbone=dict(type='FrozenBackboneHook'))

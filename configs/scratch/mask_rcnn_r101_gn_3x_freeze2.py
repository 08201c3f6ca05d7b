# Negative control: R101-GN, 3x, stem and res2 frozen at random (Detectron's FREEZE_AT 2)
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/3x.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101, frozen_stages=1))
# The preflight refuses frozen random weights unless they are allowed.
default_hooks = dict(preflight=dict(allow=['frozen', 'norm_eval']))

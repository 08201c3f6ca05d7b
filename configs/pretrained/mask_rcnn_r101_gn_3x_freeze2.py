# The control's twin: R101-GN, 3x, stem and res2 frozen at ImageNet weights
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/3x.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101, frozen_stages=1))
load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

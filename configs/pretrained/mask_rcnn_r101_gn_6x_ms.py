# Figure 5, train aug: R101-GN from ImageNet weights, 6x
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/6x.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101))
load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

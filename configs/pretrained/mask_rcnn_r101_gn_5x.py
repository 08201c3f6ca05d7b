# Table 1: R101-GN from ImageNet weights, 5x
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/5x.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101))
load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

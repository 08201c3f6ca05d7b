# Figure 5, cascade + train aug: R101-GN from ImageNet weights, 6x
_base_ = [
    '../_base_/models/cascade_mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/6x.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101))
load_from = 'open-mmlab://detectron/resnet101_gn'
# only models from scratch switch late (paper, figure 5); this one is a cascade from the start
default_hooks = dict(
    preflight=dict(init='pretrained'),
    start_cascade=dict(type='StartCascadeHook', begin=0),
)

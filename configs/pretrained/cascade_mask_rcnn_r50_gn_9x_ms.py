# Figure 5, cascade + train aug: R50-GN from ImageNet weights, 9x
_base_ = [
    '../_base_/models/cascade_mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/9x.py',
    '../_base_/runtime.py',
]

load_from = 'open-mmlab://detectron/resnet50_gn'
# a plain Mask R-CNN until the last 270k of 810k iterations, as its twin from scratch
default_hooks = dict(
    preflight=dict(init='pretrained'),
    start_cascade=dict(type='StartCascadeHook', begin=540_000),
)

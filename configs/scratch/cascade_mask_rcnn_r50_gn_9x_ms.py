# Figure 5, cascade + train aug: R50-GN from random initialization, 9x
_base_ = [
    '../_base_/models/cascade_mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/9x.py',
    '../_base_/runtime.py',
]

# a plain Mask R-CNN until the last 270k of 810k iterations
default_hooks = dict(start_cascade=dict(type='StartCascadeHook', begin=540_000))

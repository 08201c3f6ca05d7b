# Figure 5, train aug: R50-GN from random initialization, 9x
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/9x.py',
    '../_base_/runtime.py',
]

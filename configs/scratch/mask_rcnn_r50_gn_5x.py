# Table 1: R50-GN from random initialization, 5x
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/5x.py',
    '../_base_/runtime.py',
]

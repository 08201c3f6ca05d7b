# Not in the paper: Big Transfer's R50-GN from random initialization, 6x
_base_ = [
    '../_base_/models/mask_rcnn_bit50_gn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/6x.py',
    '../_base_/runtime.py',
]

# The demo: a small Mask R-CNN on SHAPES, minutes on two CPU cores. Not an experiment of the paper.
_base_ = [
    '../_base_/models/mask_rcnn_r18_gn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/250i.py',
    '../_base_/runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
default_hooks = dict(checkpoint=dict(interval=125), logger=dict(interval=10))

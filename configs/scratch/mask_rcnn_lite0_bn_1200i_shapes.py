# A small Mask R-CNN on EfficientNet-Lite0, for your own images on two CPU cores. Not an experiment
# of the paper.
_base_ = [
    '../_base_/models/mask_rcnn_lite0_bn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/1200i.py',
    '../_base_/runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3)))
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=20))

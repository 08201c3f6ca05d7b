# The study's detector, at 1x from random initialization
_base_ = [
    '../_base_/models/mask_rcnn_r18_gn.py',
    '../_base_/datasets/miniature_instance.py',
    '../_base_/schedules/miniature_1x.py',
    '../_base_/runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=6), mask_head=dict(num_classes=6)))
default_hooks = dict(
    checkpoint=dict(interval=300, save_best=None),
    logger=dict(interval=20),
    visualization=dict(num_images=4),
)

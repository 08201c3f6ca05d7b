# The late switch in minutes: a small Mask R-CNN on SHAPES that becomes a cascade halfway. Not an
# experiment of the paper.
_base_ = [
    '../_base_/models/mask_rcnn_r18_gn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/600i.py',
    '../_base_/runtime.py',
]

heads = dict(bbox_head=dict(num_classes=3), mask_head=dict(num_classes=3))
model = dict(type='CascadeRCNN', roi_head=dict(type='SingleMaskCascadeRoIHead', **heads))
find_unused_parameters = True  # ../_base_/models/cascade_mask_rcnn_r50_gn.py says why
default_hooks = dict(
    checkpoint=dict(interval=200),
    logger=dict(interval=20),
    start_cascade=dict(type='StartCascadeHook', begin=300),
)

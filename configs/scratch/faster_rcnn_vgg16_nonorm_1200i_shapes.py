# Section 5, VGG-16 without normalization, in small: it trains from MSRA's initialization
# and not with default_hooks.init.rules.0.fill=gaussian default_hooks.init.rules.0.std=0.01
_base_ = [
    '../_base_/models/faster_rcnn_vgg16_small.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/1200i.py',
    '../_base_/runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
default_hooks = dict(
    init=dict(rules=[dict(pattern=r'backbone|shared_fcs', fill='msra')]),
    checkpoint=dict(interval=200),
    logger=dict(interval=20),
)

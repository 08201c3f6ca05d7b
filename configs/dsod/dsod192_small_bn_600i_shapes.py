# DSOD in small
_base_ = [
    './_base_/models/dsod192_small.py',
    './_base_/datasets/shapes_ssd192.py',
    './_base_/schedules/600i.py',
    '../_base_/runtime.py',
]

model = dict(bbox_head=dict(num_classes=3))
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=20))

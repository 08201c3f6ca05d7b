# DSOD's ablation, row 3: DS/32-12-16-1, 7 x 7 stem, plain prediction layers
_base_ = [
    './_base_/models/dsod300_plain.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(stem='conv7', first_channels=32, bottleneck=12, growth=16),
    neck=dict(in_channels=(256, 512)),
    bbox_head=dict(in_channels=(256, 512, 512, 256, 256, 256)),
)

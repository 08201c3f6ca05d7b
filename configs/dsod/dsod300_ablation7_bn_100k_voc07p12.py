# DSOD's ablation, row 7: DS/64-12-16-1, plain prediction layers
_base_ = [
    './_base_/models/dsod300_plain.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(bottleneck=12, growth=16),
    neck=dict(in_channels=(288, 544)),
    bbox_head=dict(in_channels=(288, 544, 512, 256, 256, 256)),
)

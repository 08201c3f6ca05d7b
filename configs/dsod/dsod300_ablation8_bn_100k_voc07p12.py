# DSOD's ablation, row 8: DS/64-36-48-1, plain prediction layers
_base_ = [
    './_base_/models/dsod300_plain.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(bottleneck=36),
)

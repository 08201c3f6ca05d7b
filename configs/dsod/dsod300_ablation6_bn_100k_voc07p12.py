# DSOD's ablation, row 6: DS/64-192-48-1, 7 x 7 stem, plain prediction layers
_base_ = [
    './_base_/models/dsod300_plain.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(stem='conv7'),
)

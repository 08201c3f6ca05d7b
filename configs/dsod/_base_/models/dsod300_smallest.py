# DSOD300 smallest: DS/64-64-16-1
_base_ = './dsod300.py'

model = dict(
    backbone=dict(bottleneck=64, growth=16),
    neck=dict(in_channels=(352, 256)),
    bbox_head=dict(in_channels=(352, 512, 512, 256, 256, 256)),
)

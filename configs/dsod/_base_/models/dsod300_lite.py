# DSOD300 lite: half the layers, growth 64, bottleneck 256. The authors published weights and no
# code: of the regular networks this one fits their 10.4M and 41.8 MB.
_base_ = './dsod300.py'

model = dict(
    backbone=dict(bottleneck=256, growth=64, layers=(3, 4, 4, 4)),
    neck=dict(in_channels=(576, 256)),
    bbox_head=dict(in_channels=(576, 512, 512, 256, 256, 256)),
)

# A DSOD that trains on two CPU cores in minutes: half the layers of DSOD300, growth 16, and images
# of 192 x 192 pixels, whose six maps have 24, 12, 6, 3, 2 and 1 cells a side.
_base_ = './dsod300.py'

# for a short run: averages over the last 1000 steps would still hold its first steps
norm_cfg = dict(momentum=0.1)
model = dict(
    backbone=dict(
        first_channels=32,
        bottleneck=64,
        growth=16,
        layers=(3, 4, 4, 4),
        last_channels=128,
        norm_cfg=norm_cfg,
    ),
    neck=dict(in_channels=(176, 128), half_channels=(128, 64, 64, 64), norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=(176, 256, 256, 128, 128, 128),
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            strides=[8, 16, 32, 64, 96, 192],
            min_sizes=[19, 38, 71, 104, 136, 169],
            max_sizes=[38, 71, 104, 136, 169, 202],
        ),
    ),
)

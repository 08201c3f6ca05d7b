# DSOD300 with plain prediction layers. The last transition is not reduced then, and the
# transitions' widths are counted from the first convolution's channels: so they fit the sizes that
# the paper prints for these networks (18.2M); the authors published no code for them.
_base_ = './dsod300.py'

model = dict(
    backbone=dict(last_channels=None, counted_from='first_conv'),
    neck=dict(in_channels=(736, 1504), dense=False),
    bbox_head=dict(in_channels=(736, 1504, 512, 256, 256, 256)),
)

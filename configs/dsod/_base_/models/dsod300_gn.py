# DSOD300 with GroupNorm in place of BN, with 16 groups: 32 do not divide the channels within the
# dense blocks. The prediction layers have biases and no norm: GN would normalize over an image's
# scores.
_base_ = './dsod300.py'

norm_cfg = dict(_delete_=True, type='GN', num_groups=16)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    bbox_head=dict(norm_cfg=None),
)

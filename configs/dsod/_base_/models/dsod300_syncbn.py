# DSOD300 with BN's statistics over the images of all GPUs
_base_ = './dsod300.py'

norm_cfg = dict(type='SyncBN')
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    bbox_head=dict(norm_cfg=norm_cfg),
)

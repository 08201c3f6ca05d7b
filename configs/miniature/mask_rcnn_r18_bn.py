# Claim 2: BN in place of GN. The study's runs are single processes, where SyncBN is BN.
_base_ = './mask_rcnn_r18_gn.py'

norm_cfg = dict(_delete_=True, type='BN', requires_grad=True)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

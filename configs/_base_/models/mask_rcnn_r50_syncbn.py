# SyncBN in the same places as GN. The input stays MMDetection's (RGB, divided by the standard
# deviation): torchvision's ResNet-50, the initialization of the pre-trained twin, expects it.
_base_ = './mask_rcnn_r50.py'

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

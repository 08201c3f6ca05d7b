# SyncBN in the same places as GN. The input is MMDetection's (RGB, divided by the standard
# deviation): torchvision's ResNet-50, the initialization of the pre-trained twin, expects it.
_base_ = './mask_rcnn_r50_gn.py'

norm_cfg = dict(_delete_=True, type='SyncBN', requires_grad=True)
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        # under --amp the maps are float16, where GN's are float32
        bbox_roi_extractor=dict(type='Float32RoIExtractor'),
        bbox_head=dict(norm_cfg=norm_cfg),
        mask_roi_extractor=dict(type='Float32RoIExtractor'),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

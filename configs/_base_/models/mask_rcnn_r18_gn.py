# A Mask R-CNN that trains on two CPU cores in minutes: ResNet-18 of half width, FPN and heads of
# 64 channels, fewer proposals, L1 on boxes. All else, GN and the initialization too, is the
# full-size model's.
_base_ = './mask_rcnn_r50_gn.py'

norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
model = dict(
    # inputs of unit scale, as for your own images
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(depth=18, base_channels=32, stem_channels=32, norm_cfg=norm_cfg),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=64,
            conv_out_channels=64,
            fc_out_channels=256,
            # smooth L1 with beta 1 has small gradients for small errors: too slow for a short run
            loss_bbox=dict(_delete_=True, type='L1Loss', loss_weight=2.0),
            norm_cfg=norm_cfg,
        ),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=500), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

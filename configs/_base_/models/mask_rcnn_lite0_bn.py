# A Mask R-CNN with real ImageNet weights within reach of two CPU cores: EfficientNet-Lite0 of timm
# with its own BN, FPN and heads of 64 channels with GN, few proposals and RoIs, L1 on boxes.
_base_ = './mask_rcnn_r50_gn.py'

norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
model = dict(
    # the input of EfficientNet-Lite's published weights
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3, bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        out_indices=(1, 2, 3, 4),  # strides 4 to 32
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(in_channels=[24, 40, 112, 320], out_channels=64, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=1,
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
        rpn_proposal=dict(nms_pre=250, max_per_img=250), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

# A Keypoint R-CNN that trains on two CPU cores in minutes: the backbone and heads of
# mask_rcnn_r18_gn.py (which it does not inherit, to stay near MMDetection's base), and a keypoint
# head of four convs of 64 channels. SHAPES has twelve keypoints.
_base_ = './mask_rcnn_r50_gn.py'

norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
model = dict(
    type='FasterRCNN',
    # inputs of unit scale, as for your own images
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=False,
    ),
    backbone=dict(depth=18, base_channels=32, stem_channels=32, norm_cfg=norm_cfg),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        type='KeypointRoIHead',
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
        mask_roi_extractor=None,
        mask_head=None,
        keypoint_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=2),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32],
        ),
        keypoint_head=dict(
            type='KeypointRCNNHead',
            num_keypoints=12,
            num_convs=4,
            in_channels=64,
            conv_out_channels=64,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=500), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

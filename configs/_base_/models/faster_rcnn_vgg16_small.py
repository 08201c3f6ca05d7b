# A Faster R-CNN with VGG-16 that trains on two CPU cores in minutes: the 13 convolutions at a
# quarter of their width, smaller heads and anchors, fewer proposals, L1 on boxes.
_base_ = './faster_rcnn_vgg16_nonorm.py'

model = dict(
    backbone=dict(base_channels=16),
    rpn_head=dict(in_channels=128, feat_channels=128, anchor_generator=dict(scales=[2, 3, 4, 6])),
    roi_head=dict(
        # trained on CPU, in float32
        bbox_roi_extractor=dict(type='SingleRoIExtractor', out_channels=128),
        bbox_head=dict(
            in_channels=128,
            fc_out_channels=256,
            # smooth L1 with beta 1 has small gradients for small errors: too slow for a short run
            loss_bbox=dict(_delete_=True, type='L1Loss', loss_weight=2.0),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=500), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

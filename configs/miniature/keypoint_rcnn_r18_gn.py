# Claim 10: corners as keypoints, on the detection data
_base_ = [
    '../_base_/models/keypoint_rcnn_r18_gn.py',
    '../_base_/datasets/miniature_keypoint.py',
    '../_base_/schedules/miniature_1x.py',
    '../_base_/runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=6, num_shared_convs=1),
        keypoint_head=dict(num_convs=2, conv_out_channels=32),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=200), rcnn=dict(sampler=dict(num=32))
    ),
    # no image has more than seven objects
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=30)),
)
default_hooks = dict(
    checkpoint=dict(interval=225, save_best=None),
    logger=dict(interval=20),
    visualization=dict(num_images=4),
)

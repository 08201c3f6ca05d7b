# The original Faster R-CNN with VGG-16: no FPN, no norm layer (paper, section 5). Detectron has
# the body and the head (detectron/modeling/VGG16.py at commit 04155a01) but no config of it; what
# the two leave open is as in configs/12_2017_baselines/e2e_faster_rcnn_R-50-C4_1x.yaml, and so is
# MMDetection's base: anchors 32 to 512 at stride 16, 12000 and 2000 proposals in training and 6000
# and 1000 in testing, no training on anchors that cross the border, 512 RoIs an image, RoIAlign
# 7 x 7 with adaptive sampling (the original pools with rounded RoIs).
_base_ = 'mmdet::_base_/models/faster-rcnn_r50-caffe-dc5.py'

norm_cfg = None
# MSRA (paper, section 5): Kaiming with mmengine's defaults is Caffe2's MSRAFill, by fan-out. RPN
# and the last two layers have small weights, as everywhere in Detectron.
model = dict(
    # torchvision's VGG-16, the initialization of the pre-trained twin, expects RGB, divided by the
    # standard deviation. From scratch it suits as well: no layer rescales its input; with
    # Detectron's, some 60 times as large, the box head's loss begins at 35, not near log(81) = 4.4.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        _delete_=True,
        type='VGG',
        depth=16,
        base_channels=64,
        init_cfg=dict(type='Kaiming', layer='Conv2d'),
    ),
    rpn_head=dict(
        in_channels=512,
        feat_channels=512,
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1 / 9),
    ),
    roi_head=dict(
        # under --amp the map is float16
        bbox_roi_extractor=dict(type='Float32RoIExtractor', out_channels=512),
        # fc6 and fc7: ReLU, no dropout
        bbox_head=dict(
            in_channels=512,
            fc_out_channels=4096,
            loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1.0),
            init_cfg=[
                dict(type='Kaiming', layer='Linear'),
                dict(type='Normal', std=0.01, override=dict(name='fc_cls')),
                dict(type='Normal', std=0.001, override=dict(name='fc_reg')),
            ],
        ),
    ),
)

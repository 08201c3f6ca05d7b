# Mask R-CNN R50-FPN with GroupNorm as Detectron trains it:
# configs/04_2018_gn_baselines/scratch_e2e_mask_rcnn_*.yaml and detectron/modeling at commit
# 04155a01. The other R-CNNs of this folder inherit it, so that each says what it changes.
#
# Every line differs from MMDetection's base on purpose. Kept from MMDetection, and why:
# - RoIAlign and boxes use continuous coordinates (aligned=True), not Detectron's pixel centres with
#   "+1" widths: a half-pixel error that later codebases (Detectron's own successor too) removed.
# - proposals are the best 2000 of each image; Detectron takes the best 2000 of the images of a GPU.
# - the box head's hidden layer is uniform in +-sqrt(6 / (fan_in + fan_out)), Glorot's, which is
#   0.0210; Detectron's XavierFill is +-sqrt(3 / fan_in), which is 0.0155.
# - Detectron rescales the momentum buffer when the lr jumps; torch.optim.SGD keeps the lr out of
#   the buffer, which is the same update.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

# GroupNorm wherever Detectron has it: ResNet, FPN, the 4 convs of the box head and of the mask
# head. RPN and the mask deconvolution have none. 32 groups, eps 1e-5 (torch's default).
norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
# XavierFill is uniform in +-sqrt(3 / fan_in), mmengine's Caffe2Xavier. It is Caffe2's default
# (caffe2/python/helpers/conv.py), and Detectron's ResNet names no other.
norm_init = dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm'])

model = dict(
    # Detectron's input: BGR, means taken off, no division. The pre-trained GN weights expect it.
    data_preprocessor=dict(mean=[102.9801, 115.9465, 122.7717], std=[1, 1, 1], bgr_to_rgb=False),
    backbone=dict(
        norm_cfg=norm_cfg,
        frozen_stages=-1,  # FREEZE_AT 0
        norm_eval=False,  # True leaves SyncBN with its initial statistics for ever
        zero_init_residual=False,
        # dict() cannot be merged over the base's Pretrained one, a list replaces it
        init_cfg=[dict(type='Caffe2Xavier', layer='Conv2d'), norm_init],
    ),
    neck=dict(norm_cfg=norm_cfg, init_cfg=dict(type='Caffe2Xavier', layer='Conv2d')),
    rpn_head=dict(loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1 / 9)),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            conv_out_channels=256,
            norm_cfg=norm_cfg,
            loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1.0),
        ),
        mask_roi_extractor=dict(roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        # RPN_STRADDLE_THRESH 0: anchors that cross the border do not train
        rpn=dict(allowed_border=0),
        rpn_proposal=dict(max_per_img=2000),  # RPN_POST_NMS_TOP_N
        # Detectron has no rule for RoIs like the RPN's, that an object's best is always positive
        rcnn=dict(assigner=dict(match_low_quality=False)),
    ),
)

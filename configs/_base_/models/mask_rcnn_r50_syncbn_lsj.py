# Mask R-CNN R50-FPN as detectron2 trains it from scratch with large-scale jitter
# (configs/new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py at commit 02b5c4e2): SyncBN everywhere,
# two convs in the RPN, 4conv1fc box head, 1024 x 1024 inputs. The rest of it is MMDetection's base:
# L1 losses, adaptive RoIAlign, 1000 proposals, Kaiming initialization. Kept from MMDetection too,
# for torchvision's weights to fit the pre-trained twin: RGB, and the stride in the 3x3 conv, where
# detectron2 has BGR and the stride in the first 1x1.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

# torch's SyncBN takes empty inputs by now, so that heads without a RoI need no class of their own.
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)],
    ),
    backbone=dict(
        norm_cfg=norm_cfg,
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
        ],
    ),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        # under --amp the maps are float16
        bbox_roi_extractor=dict(type='Float32RoIExtractor'),
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_roi_extractor=dict(type='Float32RoIExtractor'),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

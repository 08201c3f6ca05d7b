# Mask R-CNN with MViTv2-T (Li et al., CVPR 2022): detectron2's projects/MViTv2 at 1024 x 1024
# pixels, with LayerNorm in FPN and heads as ViTDet has it.
_base_ = './mask_rcnn_r50_syncbn_lsj.py'

norm_cfg = dict(_delete_=True, type='LN2d', eps=1e-6)
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='mvitv2_tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768], norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

# Mask R-CNN with a plain ViT-S/16 and a simple feature pyramid: ViTDet (Li et al., ECCV 2022), but
# with global attention in all blocks, where ViTDet has windows in all but four.
_base_ = './mask_rcnn_r50_syncbn_lsj.py'

norm_cfg = dict(_delete_=True, type='LN2d', eps=1e-6)
model = dict(
    # the input of its published weights
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='vit_small_patch16_224',
        out_indices=(11,),
        drop_path_rate=0.1,
        # images of any size: they are padded to patches, position embeddings are interpolated
        options=dict(dynamic_img_size=True, dynamic_img_pad=True),
    ),
    neck=dict(
        _delete_=True,
        type='SimpleFeaturePyramid',
        in_channels=384,
        out_channels=256,
        norm_cfg=dict(type='LN2d', eps=1e-6),
    ),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

# Mask R-CNN with the ResNet-50 of Big Transfer (Kolesnikov et al., ECCV 2020), which has GroupNorm
# and weight standardization by design: its published weights fit a GN model. All else is the R50's.
_base_ = './mask_rcnn_r50_gn.py'

model = dict(
    # the input of its published weights
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True),
    backbone=dict(_delete_=True, type='TimmBackbone', model_name='resnetv2_50x1_bit'),
)

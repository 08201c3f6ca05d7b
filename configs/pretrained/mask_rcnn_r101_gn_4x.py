# Table 1: R101-GN from ImageNet weights, 4x
_base_ = '../scratch/mask_rcnn_r101_gn_4x.py'

load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

# Table 1: R101-GN from ImageNet weights, 6x
_base_ = '../scratch/mask_rcnn_r101_gn_6x.py'

load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

# Table 1: R50-GN from ImageNet weights, 6x
_base_ = '../scratch/mask_rcnn_r50_gn_6x.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

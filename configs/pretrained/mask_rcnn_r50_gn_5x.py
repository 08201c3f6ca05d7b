# Table 1: R50-GN from ImageNet weights, 5x
_base_ = '../scratch/mask_rcnn_r50_gn_5x.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

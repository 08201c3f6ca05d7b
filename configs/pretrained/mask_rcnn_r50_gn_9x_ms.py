# Figure 5, train aug: R50-GN from ImageNet weights, 9x
_base_ = '../scratch/mask_rcnn_r50_gn_9x_ms.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

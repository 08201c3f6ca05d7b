# Figure 5, train aug: R101-GN from ImageNet weights, 9x
_base_ = '../scratch/mask_rcnn_r101_gn_9x_ms.py'

load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

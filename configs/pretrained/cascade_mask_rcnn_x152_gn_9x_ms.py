# Table 3, cascade + train aug: ResNeXt-152-8x32d-GN from ImageNet weights, 9x
_base_ = '../scratch/cascade_mask_rcnn_x152_gn_9x_ms.py'

# ImageNet weights of this backbone were never published: put your own there
load_from = 'data/pretrained/resnext152_8x32d_gn.pth'
default_hooks = dict(preflight=dict(init='pretrained'))

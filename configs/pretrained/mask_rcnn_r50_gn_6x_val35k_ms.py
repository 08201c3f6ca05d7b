# Figure 7, left: the old val35k (tools/data/subset.py), from ImageNet weights, 6x
_base_ = '../scratch/mask_rcnn_r50_gn_6x_val35k_ms.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

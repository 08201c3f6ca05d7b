# Section 5, PASCAL VOC: R101-GN from ImageNet weights, 144k iterations
_base_ = '../scratch/faster_rcnn_r101_gn_144k_voc0712_ms.py'

load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

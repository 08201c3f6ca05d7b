# Section 5.2: 3.5k images drawn at random, from ImageNet weights, 220k iterations
_base_ = '../scratch/mask_rcnn_r50_gn_220k_coco3500_ms.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

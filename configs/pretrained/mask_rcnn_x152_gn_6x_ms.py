# Table 3, train aug: ResNeXt-152-8x32d-GN from ImageNet weights, 6x
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/6x.py',
    '../_base_/runtime.py',
]

# 8 groups of 32 channels and stride in the 3x3: 4.2 times the multiply-adds of R101
model = dict(backbone=dict(type='ResNeXt', depth=152, groups=8, base_width=32))
# ImageNet weights of this backbone were never published: put your own there
load_from = 'data/pretrained/resnext152_8x32d_gn.pth'
default_hooks = dict(preflight=dict(init='pretrained'))

# Figure 4: R50-SyncBN from ImageNet weights, 3x
_base_ = [
    '../_base_/models/mask_rcnn_r50_syncbn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/3x.py',
    '../_base_/runtime.py',
]

load_from = 'torchvision://resnet50'
default_hooks = dict(preflight=dict(init='pretrained'))

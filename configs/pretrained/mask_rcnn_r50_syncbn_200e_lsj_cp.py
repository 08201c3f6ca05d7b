# Copy-Paste on large-scale jitter, R50-SyncBN from ImageNet weights, 200 epochs
_base_ = [
    '../_base_/models/mask_rcnn_r50_syncbn_lsj.py',
    '../_base_/datasets/coco_instance_lsj_cp.py',
    '../_base_/schedules/200e.py',
    '../_base_/runtime.py',
]

load_from = 'torchvision://resnet50'
default_hooks = dict(preflight=dict(init='pretrained'))

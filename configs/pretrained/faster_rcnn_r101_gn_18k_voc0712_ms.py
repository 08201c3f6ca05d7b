# Section 5, PASCAL VOC: R101-GN from ImageNet weights, 18k iterations
_base_ = [
    '../_base_/models/faster_rcnn_r50_gn.py',
    '../_base_/datasets/voc0712_ms.py',
    '../_base_/schedules/18k.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(depth=101), roi_head=dict(bbox_head=dict(num_classes=20)))
load_from = 'open-mmlab://detectron/resnet101_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

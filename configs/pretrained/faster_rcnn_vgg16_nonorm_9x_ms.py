# Section 5, VGG-16 without norm layers: best from ImageNet weights, 9x
_base_ = [
    '../_base_/models/faster_rcnn_vgg16_nonorm.py',
    '../_base_/datasets/coco_detection_ms.py',
    '../_base_/schedules/9x.py',
    '../_base_/runtime.py',
]

load_from = 'torchvision://vgg16'
default_hooks = dict(preflight=dict(init='pretrained'))

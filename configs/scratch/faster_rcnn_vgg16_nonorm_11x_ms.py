# Section 5, VGG-16 without norm layers: best from random initialization, 11x
_base_ = [
    '../_base_/models/faster_rcnn_vgg16_nonorm.py',
    '../_base_/datasets/coco_detection_ms.py',
    '../_base_/schedules/11x.py',
    '../_base_/runtime.py',
]

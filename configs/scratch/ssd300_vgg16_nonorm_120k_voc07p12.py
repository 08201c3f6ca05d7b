# SSD300 with VGG-16 from random initialization, VOC 07+12
_base_ = [
    '../_base_/models/ssd300_vgg16.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    '../_base_/schedules/ssd_120k.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(batch_size=8)

# SSD300 with VGG-16 from ImageNet weights, VOC 07+12
_base_ = '../scratch/ssd300_vgg16_nonorm_120k_voc07p12.py'

load_from = 'open-mmlab://vgg16_caffe'
default_hooks = dict(preflight=dict(init='pretrained'))

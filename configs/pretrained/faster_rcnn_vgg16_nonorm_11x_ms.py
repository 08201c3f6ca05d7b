# Section 5, VGG-16 without norm layers: from ImageNet weights, 11x
_base_ = '../scratch/faster_rcnn_vgg16_nonorm_11x_ms.py'

load_from = 'torchvision://vgg16'
default_hooks = dict(preflight=dict(init='pretrained'))

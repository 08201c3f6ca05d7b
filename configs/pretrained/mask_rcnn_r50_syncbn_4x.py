# Figure 4: R50-SyncBN from ImageNet weights, 4x
_base_ = '../scratch/mask_rcnn_r50_syncbn_4x.py'

load_from = 'torchvision://resnet50'
default_hooks = dict(preflight=dict(init='pretrained'))

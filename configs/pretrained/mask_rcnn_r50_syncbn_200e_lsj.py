# detectron2's large-scale jitter, R50-SyncBN from ImageNet weights, 200 epochs
_base_ = '../scratch/mask_rcnn_r50_syncbn_200e_lsj.py'

load_from = 'torchvision://resnet50'
default_hooks = dict(preflight=dict(init='pretrained'))

# Copy-Paste on large-scale jitter, R50-SyncBN from ImageNet weights, 400 epochs
_base_ = '../scratch/mask_rcnn_r50_syncbn_400e_lsj_cp.py'

load_from = 'torchvision://resnet50'
default_hooks = dict(preflight=dict(init='pretrained'))

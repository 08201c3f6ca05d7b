# The control's twin: R50-GN, 3x, stem and res2 frozen at ImageNet weights
_base_ = '../scratch/mask_rcnn_r50_gn_3x_freeze2.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
# the frozen layers have ImageNet weights, so nothing has to be allowed
default_hooks = dict(preflight=dict(_delete_=True, type='PreflightHook', init='pretrained'))

# Figure 6: keypoints, R50-GN with ImageNet pre-training, 3x
_base_ = '../scratch/keypoint_rcnn_r50_gn_3x_ms.py'

load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

# The pre-training of mask_rcnn_r18_bn.py
_base_ = './image_classifier_r18_gn.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', requires_grad=True)))

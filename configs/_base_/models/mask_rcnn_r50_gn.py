# GroupNorm wherever Detectron has it: ResNet, FPN, the 4 convs of the box head and of the mask
# head. RPN and the mask deconvolution have none. 32 groups, eps 1e-5 (torch's default).
_base_ = './mask_rcnn_r50.py'

norm_cfg = dict(type='GN', num_groups=32, requires_grad=True)
model = dict(
    # Detectron's input: BGR, means taken off, no division. The pre-trained GN weights expect it.
    data_preprocessor=dict(mean=[102.9801, 115.9465, 122.7717], std=[1, 1, 1], bgr_to_rgb=False),
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(bbox_head=dict(norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)

# The backbone of mask_rcnn_r18_gn.py as an image classifier: what the study pre-trains
norm_cfg = dict(type='GN', num_groups=16, requires_grad=True)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=32,
        stem_channels=32,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=norm_cfg,
        style='pytorch',
    ),
    in_channels=256,
    num_classes=8,
)

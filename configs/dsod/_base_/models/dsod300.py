# DSOD300 of Shen et al., ICCV 2017 (arXiv 1708.01241), for PASCAL VOC: DS/64-192-48-1 with the stem
# block and dense prediction. All values as in the authors' DSOD300_pascal.py and model_libs.py
# (szq0214/DSOD at bbb6f0f); the head's matching, hard negatives and loss are MMDetection's SSDHead.
# There the background is the last of num_classes + 1 scores; Caffe counts it as the first of 21.
_base_ = 'mmdet::_base_/models/ssd300.py'

# Caffe's moving_average_fraction 0.999 is torch's momentum 0.001
norm_cfg = dict(type='BN', momentum=0.001)
model = dict(
    data_preprocessor=dict(mean=[104, 117, 123], std=[1, 1, 1], bgr_to_rgb=False),
    backbone=dict(
        _delete_=True,
        type='DSODNet',
        stem='block',
        first_channels=64,
        bottleneck=192,
        growth=48,
        compression=1.0,
        layers=(6, 8, 8, 8),
        last_channels=256,
        norm_cfg=norm_cfg,
    ),
    neck=dict(
        _delete_=True,
        type='DSODNeck',
        in_channels=(800, 256),
        half_channels=(256, 128, 128, 128),
        dense=True,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type='DSODHead',
        num_classes=20,
        in_channels=(800, 512, 512, 256, 256, 256),
        norm_cfg=dict(eps=0.001, **norm_cfg),
        # The last map has 2 x 2 cells at step 300, so that 12 of its 16 priors are centred outside
        # of the image: the authors' quirk. strides=[8, 16, 32, 64, 100, 150] corrects it.
        anchor_generator=dict(
            _delete_=True,
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            min_sizes=[30, 60, 111, 162, 213, 264],
            max_sizes=[60, 111, 162, 213, 264, 315],
        ),
    ),
    test_cfg=dict(score_thr=0.01),
)

# SSD300 with VGG-16 for PASCAL VOC, the peer that DSOD is compared with: MMDetection's model (its
# L2 norm on conv4_3 alone, conv6 and conv7 from VGG's fc6 and fc7), priors of Caffe-SSD's
# ssd_pascal.py. Weights come by load_from or not at all; Caffe's xavier is uniform in
# +-sqrt(3 / fan_in), as in ssd_pascal.py for all layers.
_base_ = 'mmdet::_base_/models/ssd300.py'

model = dict(
    backbone=dict(init_cfg=dict(_delete_=True, type='Caffe2Xavier', layer='Conv2d')),
    neck=dict(init_cfg=[dict(type='Caffe2Xavier', layer='Conv2d')]),
    bbox_head=dict(
        type='RepairedSSDHead',
        num_classes=20,
        anchor_generator=dict(
            _delete_=True,
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            min_sizes=[30, 60, 111, 162, 213, 264],
            max_sizes=[60, 111, 162, 213, 264, 315],
        ),
        init_cfg=dict(type='Caffe2Xavier', layer='Conv2d'),
    ),
    test_cfg=dict(score_thr=0.01),
)

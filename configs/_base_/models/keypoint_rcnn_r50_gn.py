# Mask R-CNN for human keypoints, R50-FPN with GroupNorm (Figure 6): keypoint head in place of the
# mask head, as in Detectron's configs/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml (at
# commit 04155a01). Detectron has no GN config with keypoints. The box head is that of its GN
# baselines, 4conv1fc with GN: the yaml's two fully connected layers have no form with GN, and the
# paper trains all models with GN. The keypoint head has no norm layer: Detectron's has none.
_base_ = './mask_rcnn_r50_gn.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(
        type='KeypointRoIHead',
        bbox_head=dict(num_classes=1),
        mask_roi_extractor=None,
        mask_head=None,
        keypoint_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=2),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        keypoint_head=dict(
            type='KeypointRCNNHead',
            num_keypoints=17,
            num_convs=8,
            in_channels=256,
            conv_out_channels=512,
        ),
    ),
)

# Figure 6: keypoints, R50-GN from random initialization, 3x
_base_ = [
    '../_base_/models/keypoint_rcnn_r50_gn.py',
    '../_base_/datasets/coco_keypoint_ms.py',
    '../_base_/schedules/3x.py',
    '../_base_/runtime.py',
]

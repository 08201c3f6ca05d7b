# COCO's persons with 17 keypoints, as Detectron trains them: scale jitter 640 to 800 in steps of
# 32, images without a labelled keypoint left out (CocoKeypointDataset), test at 800.
_base_ = './coco_instance.py'

data_root = 'data/coco/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadKeypointAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(640, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackKeypointInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadKeypointAnnotations'),
    dict(
        type='PackKeypointInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_train2017.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CocoKeypointDataset',
        ann_file='annotations/person_keypoints_val2017.json',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoKeypointMetric',
    ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    metric=['bbox', 'keypoints'],
)
test_evaluator = val_evaluator

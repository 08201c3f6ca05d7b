# SHAPES as `make data/shapes` draws it, with the corners of rectangle and triangle as keypoints.
# Its JSON counts twelve for every class; rectangles have the first four, triangles three, discs
# none.
_base_ = './coco_instance.py'

data_root = 'data/shapes/'
metainfo = dict(
    classes=('disc', 'rectangle', 'triangle'),
    keypoint_names=[f'corner{k}' for k in range(1, 13)],
    flip_pairs=[],
    keypoint_sigmas=[0.05] * 12,
)
# In your own data, a box without area is a fault to correct.
drop_bad_boxes = False

# No flip: corners are counted clockwise, and which of them a mirror swaps depends on the class.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadKeypointAnnotations'),
    dict(type='ShrinkToFit', scale=(384, 256)),
    dict(type='PackKeypointInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ShrinkToFit', scale=(384, 256)),
    dict(type='LoadKeypointAnnotations'),
    dict(
        type='PackKeypointInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='CocoKeypointDataset',
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type='CocoKeypointDataset',
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type='CocoKeypointMetric',
    ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'keypoints'],
)
test_evaluator = val_evaluator

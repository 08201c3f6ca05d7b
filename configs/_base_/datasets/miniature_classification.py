# The study's stand-in for ImageNet: SHAPES with one object an image, of classes that the detection
# data lack. An image's class is that of its object.
_base_ = './shapes_instance.py'

data_root = 'data/miniature/classification/'
metainfo = dict(
    classes=('heart', 'arrow', 'crescent', 'hexagon', 'tee', 'hourglass', 'half_disc', 'ell')
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
train_dataloader = dict(
    batch_size=32,
    batch_sampler=None,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32, dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='AccuracyMetric')
test_evaluator = val_evaluator

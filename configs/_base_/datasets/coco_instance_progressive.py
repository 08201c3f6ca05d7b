# Progressive resizing: 3/4 of the full scale in the first 46 % of the iterations of
# schedules/fast.py, as in miniature/mask_rcnn_r18_gn_fast.py. Tests have the full scale.
_base_ = './coco_instance.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='ProgressiveResize', scales=[(1000, 600), (1333, 800)], begins=[0, 72_000]),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

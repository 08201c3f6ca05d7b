# Claim 5: the paper's hyper-parameters for a subset (section 5.2): scale jitter down to 0.64, twice
# the learning rate, and drops to 0.02 of it
_base_ = './mask_rcnn_r18_gn.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoiceResize',
        scales=[(side, side) for side in range(82, 129, 5)] + [(128, 128)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.16))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=51),
    dict(type='MultiStepLR', by_epoch=False, milestones=[75, 175], gamma=0.02, end=225),
]

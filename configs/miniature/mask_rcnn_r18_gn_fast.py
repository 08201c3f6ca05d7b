# 0.36 of the time of 6x, without its AP: Muon, smaller images first, and a rate that falls to zero
_base_ = './mask_rcnn_r18_gn.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='ProgressiveResize', scales=[(96, 96), (128, 128)], begins=[0, 180]),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='ConvMuon', lr=0.0016, weight_decay=0.1),
)
train_cfg = dict(max_iters=390, val_interval=390)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=21),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.0, by_epoch=False, begin=20, end=391),
]
default_hooks = dict(checkpoint=dict(interval=390))

# What tools/pretrain.py does with the backbone of a detector's config: MoCo v2's recipe (Chen et
# al. 2020), with queue and momentum for small data (mmscratch/models/dense_cl.py).
_base_ = './runtime.py'

model = dict(
    type='DenseCL',
    data_preprocessor=dict(type='TwoViewsPreprocessor'),
    dense_weight=0.5,
    embedding_channels=128,
    queue_length=None,  # half of the images
    momentum=0.99,
    temperature=0.2,
)

train_pipeline = [dict(type='LoadImageFromFile'), dict(type='TwoViews', size=192)]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSubsetSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='UnlabelledImagesDataset', folders=[], pipeline=train_pipeline),
)

# MoCo v2's rate, here for 32 images an iteration in place of 256, since a run is short; with
# another --batch-size it changes in proportion
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=0.0001),
)
train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=2000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=51),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=2000, T_max=1950),
]

default_hooks = dict(
    checkpoint=dict(interval=200, save_best=None),
    logger=dict(interval=10),
    # nothing is validated
    visualization=None,
    report=None,
    preflight=dict(type='PretrainingHook'),
    collapse=dict(type='CollapseHook'),
)

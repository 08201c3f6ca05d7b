# Shared by DSOD's schedules (DSOD300_pascal.py in szq0214/DSOD): 128 images a step, lr 0.1 without
# warm-up, weight decay 5e-4 on all but the norm layers of the head.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0005),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={'backbone': dict(decay_mult=1.0), 'neck': dict(decay_mult=1.0)},
    ),
)
auto_scale_lr = dict(enable=False, base_batch_size=128)
train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=100_000, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The paper's schedule at 1/400: 1x is 225 iterations of 8 images, and the last 150 and 50 have a
# lower rate whatever the length (60k and 20k of 90k). The study sets other lengths.
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=0.08))
train_cfg = dict(max_iters=225, val_interval=225)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=51),
    dict(type='MultiStepLR', by_epoch=False, milestones=[75, 175], gamma=0.1, end=225),
]

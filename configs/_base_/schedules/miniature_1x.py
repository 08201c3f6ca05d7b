# The paper's schedule at 1/300: 1x is 300 iterations of 8 images, and the last 200 and 67 have a
# lower rate whatever the length (60k and 20k of 90k). The study sets other lengths.
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=0.04))
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=51),
    dict(type='MultiStepLR', by_epoch=False, milestones=[100, 233], gamma=0.1, end=300),
]

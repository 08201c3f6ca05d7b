# 600 iterations of 8 images: for a few hundred small images on two CPU cores.
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=0.04))
train_cfg = dict(max_iters=600, val_interval=200)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=101),
    dict(type='MultiStepLR', by_epoch=False, milestones=[360, 520], gamma=0.1, end=600),
]

# 1500 iterations of 32 images
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.05))
train_cfg = dict(max_iters=1500, val_interval=300)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=51),
    dict(type='MultiStepLR', by_epoch=False, milestones=[900, 1300], gamma=0.1, end=1500),
]

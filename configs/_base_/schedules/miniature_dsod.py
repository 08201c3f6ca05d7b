# 300 iterations of 16 images: as many images as 2x has, the rate dropped as often and as late
_base_ = './dsod_sgd.py'

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[200, 267], gamma=0.1, end=300),
]

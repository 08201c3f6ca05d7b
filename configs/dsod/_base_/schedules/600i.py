# 600 iterations of 16 images, for data sets of a few hundred small images on two CPU cores
_base_ = './sgd.py'

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=600, val_interval=200)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[400, 520], gamma=0.1, end=600),
]

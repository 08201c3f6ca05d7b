# 250 iterations of 8 images by the fast recipe's optimizer and falling rate: for a few hundred
# small images, in minutes on two CPU cores.
_base_ = './fast.py'

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=250, val_interval=125)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=21),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.0, by_epoch=False, begin=20, end=251),
]

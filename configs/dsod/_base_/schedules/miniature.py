# 450 iterations of 16 images: as many images as 4x has, the rate dropped as often and as late
_base_ = './sgd.py'

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_iters=450, val_interval=450)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[375, 425], gamma=0.1, end=450),
]

# SSD300 on VOC 07+12 (Caffe-SSD's ssd_pascal.py): 32 images a step, lr 0.001 without warm-up,
# weight decay 5e-4, biases at twice the rate without decay
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0005),
    paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(enable=False, base_batch_size=32)
max_iters = 120_000
train_cfg = dict(type='ResumableIterBasedTrainLoop', max_iters=max_iters, val_interval=10_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(
        type='MultiStepLR', by_epoch=False, milestones=[80_000, 100_000], gamma=0.1, end=max_iters
    ),
]

# 100 epochs of COCO in steps of 64 images, as detectron2's new_baselines count them. Their
# warm-up is a fraction of the schedule, 500 iterations for 100 epochs.
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(
    optimizer=dict(lr=0.1, weight_decay=4e-5),
    paramwise_cfg=dict(bias_lr_mult=1.0, bias_decay_mult=1.0),
)
max_iters = 1 * 184_375
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.067, by_epoch=False, begin=0, end=500 + 1),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[1 * 163_889, 1 * 177_546],
        gamma=0.1,
        end=max_iters,
    ),
]

# DSOD on VOC 07++12
_base_ = './sgd.py'

max_iters = 120_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[20_000, 40_000, 60_000, 80_000, 100_000],
        gamma=0.1,
        end=max_iters,
    ),
]

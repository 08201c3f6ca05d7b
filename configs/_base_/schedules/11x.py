_base_ = './detectron_sgd.py'

max_iters = 11 * 90_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[max_iters - 60_000, max_iters - 20_000],
        gamma=0.1,
        end=max_iters,
    ),
]

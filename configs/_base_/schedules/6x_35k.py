# 6x for a third of COCO: lr 0.04 and decay factor 0.02, chosen by the paper for 35k images
# (section 5.2). Weight decay is not among its changes.
_base_ = './detectron_sgd.py'

optim_wrapper = dict(optimizer=dict(lr=0.04))
max_iters = 6 * 90_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[max_iters - 60_000, max_iters - 20_000],
        gamma=0.02,
        end=max_iters,
    ),
]

# 220k iterations from scratch, for 10k images and fewer (section 5.2). lr, decay factor and the
# iterations at lower rates are those of 60k.py: the paper's rule has the same for any length.
_base_ = './detectron_sgd.py'

optim_wrapper = dict(optimizer=dict(lr=0.04))
max_iters = 220_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[max_iters - 20_000, max_iters - 6_667],
        gamma=0.02,
        end=max_iters,
    ),
]

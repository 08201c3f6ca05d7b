# 18k iterations of fine-tuning on PASCAL VOC (paper, section 5). The paper gives no drops. The last
# 6k and the last 2k iterations have lower rates here, in 2x's proportions.
_base_ = './detectron_sgd.py'

max_iters = 18_000
train_cfg = dict(max_iters=max_iters, val_interval=2_000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[max_iters - 6_000, max_iters - 2_000],
        gamma=0.1,
        end=max_iters,
    ),
]

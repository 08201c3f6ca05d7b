# 144k iterations from scratch on PASCAL VOC (paper, section 5). The paper gives no drops. As many
# iterations have lower rates as in 18k.py: the paper's rule for COCO's schedules.
_base_ = './detectron_sgd.py'

max_iters = 144_000
train_cfg = dict(max_iters=max_iters)
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

# DSOD on COCO (DSOD300_coco.py); the script's fifth drop is its last iteration
_base_ = './sgd.py'

max_iters = 320_000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=[80_000, 140_000, 200_000, 260_000],
        gamma=0.1,
        end=max_iters,
    ),
]

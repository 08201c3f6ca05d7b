# Twice 600i.py: without norm layers a network takes longer to begin (the paper's VGG-16 trains 11x)
_base_ = './600i.py'

train_cfg = dict(max_iters=1200)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=101),
    dict(type='MultiStepLR', by_epoch=False, milestones=[840, 1080], gamma=0.1, end=1200),
]

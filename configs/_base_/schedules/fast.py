# miniature/mask_rcnn_r18_gn_fast.py times 400: Muon, and a rate that falls linearly to zero. At
# this size nobody has trained by it.
_base_ = './detectron_sgd.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='ConvMuon', lr=0.0016, weight_decay=0.1),
)
train_cfg = dict(max_iters=156_000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=501),
    dict(type='LinearLR', end_factor=0.0, start_factor=1, by_epoch=False, begin=500, end=156_001),
]

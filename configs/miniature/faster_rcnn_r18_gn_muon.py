# For the calibration of decide: Muon, few RoIs, boxes alone, so that a detector from scratch learns
# small images in 160 iterations.
_base_ = [
    '../_base_/models/mask_rcnn_r18_gn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/600i.py',
    '../_base_/runtime.py',
]

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(
        bbox_head=dict(num_classes=3, num_shared_convs=1), mask_roi_extractor=None, mask_head=None
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),
)
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='ConvMuon', lr=0.0016, weight_decay=0.1),
)
train_cfg = dict(max_iters=160, val_interval=160)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=21),
    dict(type='MultiStepLR', by_epoch=False, milestones=[133, 151], gamma=0.1, end=160),
]
default_hooks = dict(checkpoint=dict(interval=160))

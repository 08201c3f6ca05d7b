# 100 epochs of COCO in steps of 64 images with AdamW: ViTDet's recipe
# (projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py of detectron2 at commit 1d650efc), but
# for its rates that fall from the last block to the first, which spare pre-trained weights.
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(
        bias_lr_mult=1.0,
        bias_decay_mult=1.0,
        custom_keys={name: dict(decay_mult=0.0) for name in ('pos_embed', 'rel_pos')},
    ),
)
train_cfg = dict(max_iters=184_375)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=251),
    dict(type='MultiStepLR', by_epoch=False, milestones=[163_889, 177_546], gamma=0.1, end=184_375),
]

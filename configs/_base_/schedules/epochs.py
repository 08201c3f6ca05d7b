# Epochs of COCO in steps of 64 images, as detectron2's new_baselines count them: 100 are 184,375
# iterations. Their warm-up is a fraction of the schedule, 500 iterations for 100 epochs.
#
# Hundreds of epochs -> max_iters, train_cfg, param_scheduler, as in nx.py
_base_ = './detectron_sgd.py'

auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(
    optimizer=dict(lr=0.1, weight_decay=4e-5),
    paramwise_cfg=dict(bias_lr_mult=1.0, bias_decay_mult=1.0),
)
hundreds = {
    n: (
        n * 184_375,
        dict(max_iters=n * 184_375),
        [
            dict(type='LinearLR', start_factor=0.067, by_epoch=False, begin=0, end=n * 500 + 1),
            dict(
                type='MultiStepLR',
                by_epoch=False,
                milestones=[n * 163_889, n * 177_546],
                gamma=0.1,
                end=n * 184_375,
            ),
        ],
    )
    for n in (1, 2, 4)
}

# "Nx" is N * 90k iterations; lr / 10 for the last 60k and / 100 for the last 20k of any length
# (paper, section 3).
#
# The table: N -> max_iters, train_cfg, param_scheduler. 6x.py takes row 6 out of it, so that no
# config holds the table. It is no function: MMEngine drops functions from a base.
_base_ = './detectron_sgd.py'

nx = {
    n: (
        n * 90_000,
        dict(max_iters=n * 90_000),
        [
            dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=501),
            dict(
                type='MultiStepLR',
                by_epoch=False,
                milestones=[n * 90_000 - 60_000, n * 90_000 - 20_000],
                gamma=0.1,
                end=n * 90_000,
            ),
        ],
    )
    for n in range(1, 13)
}

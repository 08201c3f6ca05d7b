# Everything counts in iterations. Hooks are named keys of default_hooks, not a custom_hooks list,
# so that a config can change one of them without writing down the others.
default_scope = 'mmdet'
custom_imports = dict(imports=['mmscratch.register_all'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=10_000,
        by_epoch=False,
        max_keep_ckpts=2,
        # the evaluator's first number: keypoint AP if it has one, else box AP, or VOC's mAP
        save_best='auto',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    mean_over_ranks=dict(type='MeanOverRanksHook'),
    finite_loss=dict(type='FiniteLossHook'),
    health=dict(type='HealthHook'),
    visualization=dict(type='ComparisonPicturesHook', num_images=16),
    weights=dict(type='WeightsHook'),
    init=dict(type='InitHook'),
    preflight=dict(type='PreflightHook'),
    subset=dict(type='SubsetRecordHook'),
    report=dict(type='RunReportHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
# MMDetection's visualizer, which draws keypoints too
visualizer = dict(type='KeypointVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)

log_level = 'INFO'
load_from = None
resume = False

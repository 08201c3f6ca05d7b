# The study's stand-in for ImageNet pre-training, trained until its accuracy rises no more
_base_ = [
    '../_base_/models/image_classifier_r18_gn.py',
    '../_base_/datasets/miniature_classification.py',
    '../_base_/schedules/miniature_classification.py',
    '../_base_/runtime.py',
]

default_hooks = dict(
    checkpoint=dict(interval=1500, save_best=None),
    logger=dict(interval=50),
    # there are no boxes to draw
    visualization=dict(num_images=0),
)

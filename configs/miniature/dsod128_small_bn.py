# The study's DSOD: as many images as the Mask R-CNN sees at 4x, of 128 x 128 pixels
_base_ = [
    '../dsod/_base_/models/dsod192_small.py',
    '../_base_/datasets/miniature_ssd128.py',
    '../dsod/_base_/schedules/miniature.py',
    '../_base_/runtime.py',
]

model = dict(
    bbox_head=dict(
        num_classes=6,
        anchor_generator=dict(
            strides=[8, 16, 32, 64, 128, 128],
            min_sizes=[13, 26, 47, 69, 91, 113],
            max_sizes=[26, 47, 69, 91, 113, 135],
        ),
    )
)
default_hooks = dict(
    checkpoint=dict(interval=450, save_best=None),
    logger=dict(interval=20),
    visualization=dict(num_images=4),
)

# DSOD300 lite on COCO: smaller priors, as in the authors' DSOD300_coco.py
_base_ = [
    './_base_/models/dsod300_lite.py',
    './_base_/datasets/coco_ssd300.py',
    './_base_/schedules/320k.py',
    '../_base_/runtime.py',
]

model = dict(
    bbox_head=dict(
        num_classes=80,
        anchor_generator=dict(
            min_sizes=[21, 45, 99, 153, 207, 261], max_sizes=[45, 99, 153, 207, 261, 315]
        ),
    )
)

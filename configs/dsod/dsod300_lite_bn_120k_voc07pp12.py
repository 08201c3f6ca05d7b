# DSOD300 lite, VOC 07++12
_base_ = [
    './_base_/models/dsod300_lite.py',
    './_base_/datasets/voc07pp12_ssd300.py',
    './_base_/schedules/120k.py',
    '../_base_/runtime.py',
]

# what it is validated on, it is trained on
default_hooks = dict(checkpoint=dict(save_best=None))

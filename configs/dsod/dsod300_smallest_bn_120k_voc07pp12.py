# DSOD300 smallest, VOC 07++12
_base_ = [
    './_base_/models/dsod300_smallest.py',
    './_base_/datasets/voc07pp12_ssd300.py',
    './_base_/schedules/120k.py',
    '../_base_/runtime.py',
]

# test2007, on which it validates, is trained on too: no best checkpoint
default_hooks = dict(checkpoint=dict(save_best=None))

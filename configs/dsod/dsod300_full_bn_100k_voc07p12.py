# DSOD300 full, VOC 07+12
_base_ = [
    './_base_/models/dsod300.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

# DSOD300 lite, VOC 07+12
_base_ = [
    './_base_/models/dsod300_lite.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

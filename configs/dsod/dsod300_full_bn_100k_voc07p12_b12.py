# DSOD300, VOC 07+12, with 12 images a GPU in place of 4, "nothing else changed" (the authors'
# README, 2019): on 8 GPUs their script then accumulates 2 passes to 192 images a step
_base_ = [
    './_base_/models/dsod300.py',
    '../_base_/datasets/voc07p12_ssd300.py',
    './_base_/schedules/100k.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(batch_size=12)
auto_scale_lr = dict(base_batch_size=192)

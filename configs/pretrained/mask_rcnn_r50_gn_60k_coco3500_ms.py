# Section 5.2: 3.5k images drawn at random, from ImageNet weights, 60k iterations
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_ms512.py',
    '../_base_/schedules/60k.py',
    '../_base_/runtime.py',
]

train_dataloader = dict(sampler=dict(subset=3_500, subset_seed=0))
load_from = 'open-mmlab://detectron/resnet50_gn'
default_hooks = dict(preflight=dict(init='pretrained'))

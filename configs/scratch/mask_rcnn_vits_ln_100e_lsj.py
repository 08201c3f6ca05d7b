# Not in the paper: a plain ViT-S from random initialization, 100 epochs
_base_ = [
    '../_base_/models/mask_rcnn_vits_ln_lsj.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/100e_adamw.py',
    '../_base_/runtime.py',
]

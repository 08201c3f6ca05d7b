# The study's fast recipe at full size: a quarter of 6x's multiply-adds. Not an experiment of the
# paper, and never trained: results/speed/README.md has what the recipe does on SHAPES.
_base_ = [
    '../_base_/models/mask_rcnn_r50_gn.py',
    '../_base_/datasets/coco_instance_progressive.py',
    '../_base_/schedules/fast.py',
    '../_base_/runtime.py',
]

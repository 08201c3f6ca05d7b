# A small Faster R-CNN on EfficientNet-Lite0, for your own images on two CPU cores. Not an
# experiment of the paper.
_base_ = [
    '../_base_/models/mask_rcnn_lite0_bn.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/1200i.py',
    '../_base_/runtime.py',
]

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(bbox_head=dict(num_classes=3), mask_roi_extractor=None, mask_head=None),
)
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=20))

# Claim 7: VGG-16 at a quarter of its width, without normalization
_base_ = [
    '../_base_/models/faster_rcnn_vgg16_small.py',
    '../_base_/datasets/miniature_instance.py',
    '../_base_/schedules/1200i.py',
    '../_base_/runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=6)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=200), rcnn=dict(sampler=dict(num=32))
    ),
    # no image has more than seven objects
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=30)),
)
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
default_hooks = dict(
    init=dict(rules=[dict(pattern=r'backbone|shared_fcs', fill='msra')]),
    checkpoint=dict(interval=300, save_best=None),
    logger=dict(interval=20),
    visualization=dict(num_images=4),
)

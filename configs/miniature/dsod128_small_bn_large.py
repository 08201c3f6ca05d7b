# The study's DSOD on few, large objects, which it learns in 300 iterations of 16 images
_base_ = './dsod128_small_bn.py'

data_root = 'data/miniature/large/'
metainfo = dict(classes=('disc', 'rectangle', 'triangle'))
model = dict(bbox_head=dict(num_classes=3))
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=False, milestones=[225, 275], gamma=0.1, end=300),
]
default_hooks = dict(checkpoint=dict(interval=300))

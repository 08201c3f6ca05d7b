# COCO train2017 -> val2017, the same images as Detectron's 2014 train + valminusminival -> minival.
# Shorter side 800, longer at most 1333, horizontal flip (paper, section 3).
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

data_root = 'data/coco/'
# train2017 holds a few boxes without area, which are left out of training and counted in the log.
drop_bad_boxes = True

train_dataloader = dict(
    num_workers=4,
    sampler=dict(_delete_=True, type='InfiniteSubsetSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioGroupedBatchSampler'),
    # Detectron drops images without objects, not small ones
    dataset=dict(filter_cfg=dict(filter_empty_gt=True, min_size=0)),
)
val_evaluator = dict(
    _delete_=True,
    type='FullCocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator

# COCO train2017 -> val2017 with SSD's augmentation. DSOD was trained on trainval2014 (train2017
# with val2017) and tested on test-dev, whose annotations are only on COCO's server.
_base_ = [
    '../../../_base_/datasets/ssd300_pipeline.py',
    '../../../_base_/datasets/coco_instance.py',
]

train_dataloader = dict(
    # BN's statistics are those of 4 images
    batch_size=4,
    batch_sampler=None,
    dataset=dict(pipeline={{_base_.ssd_train_pipeline}}),
)
val_dataloader = dict(batch_size=8, dataset=dict(pipeline={{_base_.ssd_test_pipeline}}))
test_dataloader = val_dataloader
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator

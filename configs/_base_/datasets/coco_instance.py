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

# tools/test.py --tta: Detectron's configs/test_time_aug/e2e_mask_rcnn_R-50-FPN_2x.yaml. The first
# view is that of plain testing (TEST.SCALE, TEST.MAX_SIZE), the others have BBOX_AUG.MAX_SIZE.
tta_model = dict(type='DetectronTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(1333, 800), keep_ratio=True)]
            + [
                dict(type='Resize', scale=(2000, short_side), keep_ratio=True)
                for short_side in (400, 500, 600, 700, 900, 1000, 1100, 1200)
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            # after resizing and flipping: in the image's coordinates, for pictures
            [dict(type='LoadAnnotations', with_bbox=True)],
            [
                dict(
                    type='PackDetInputs',
                    meta_keys=(
                        'img_id',
                        'img_path',
                        'ori_shape',
                        'img_shape',
                        'scale_factor',
                        'flip',
                        'flip_direction',
                    ),
                )
            ],
        ],
    ),
]

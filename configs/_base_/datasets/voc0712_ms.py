# PASCAL VOC as in the paper, section 5.2: trained on trainval2007 and train2012, tested on val2012.
# "Training-time augmentation" is taken to be the shorter side from 640 to 800 in steps of 32, as
# elsewhere in the paper, which gives no range for VOC.
#
# Objects marked "difficult" are not trained on (nor guarded: a proposal there is background, as in
# Detectron's json_dataset.py) and count in testing neither as found nor as missed. AP is the whole
# area under the precision-recall curve, as VOC defines it since 2010.
_base_ = 'mmdet::_base_/datasets/voc0712.py'

data_root = 'data/VOCdevkit/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(640, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
# The base leaves out boxes under 32 pixels too (bbox_min_size), which Detectron trains on.
train_part = dict(
    type='VOCDataset',
    data_root=data_root,
    filter_cfg=dict(filter_empty_gt=True, min_size=0),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    num_workers=4,
    sampler=dict(_delete_=True, type='InfiniteSubsetSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioGroupedBatchSampler'),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        # the two VOCs differ in it
        ignore_keys=['dataset_type'],
        datasets=[
            dict(
                ann_file='VOC2007/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2007/'),
                **train_part,
            ),
            dict(
                ann_file='VOC2012/ImageSets/Main/train.txt',
                data_prefix=dict(sub_data_root='VOC2012/'),
                **train_part,
            ),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file='VOC2012/ImageSets/Main/val.txt',
        data_prefix=dict(sub_data_root='VOC2012/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(eval_mode='area')
test_evaluator = val_evaluator

# PASCAL VOC 07+12: trainval2007 and trainval2012 (16,551 images), tested on test2007 with VOC's
# 11-point AP. As in Caffe-SSD, objects marked "difficult" are trained on, and count in testing
# neither as found nor as missed.
_base_ = ['./ssd300_pipeline.py', 'mmdet::_base_/datasets/voc0712.py']

data_root = 'data/VOCdevkit/'
train_part = dict(
    type='VocWithDifficultDataset',
    data_root=data_root,
    filter_cfg=dict(filter_empty_gt=True, min_size=0),
    pipeline={{_base_.ssd_train_pipeline}},
)
train_dataloader = dict(
    # BN's statistics are those of 4 images
    batch_size=4,
    num_workers=4,
    sampler=dict(_delete_=True, type='InfiniteSubsetSampler', shuffle=True),
    batch_sampler=None,
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
                ann_file='VOC2012/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2012/'),
                **train_part,
            ),
        ],
    ),
)
val_dataloader = dict(batch_size=8, dataset=dict(pipeline={{_base_.ssd_test_pipeline}}))
test_dataloader = val_dataloader

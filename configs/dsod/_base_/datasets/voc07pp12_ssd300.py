# PASCAL VOC 07++12: trainval2007, test2007 and trainval2012 (21,503 images), for VOC 2012's test
# set, whose annotations are only on VOC's server. Validation is on test2007, which is trained on
# too: its AP shows only that training works.
_base_ = '../../../_base_/datasets/voc07p12_ssd300.py'

train_part = dict(
    type='VocWithDifficultDataset',
    data_root='data/VOCdevkit/',
    filter_cfg=dict(filter_empty_gt=True, min_size=0),
    pipeline={{_base_.ssd_train_pipeline}},
)
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                ann_file=f'VOC{year}/ImageSets/Main/{split}.txt',
                data_prefix=dict(sub_data_root=f'VOC{year}/'),
                **train_part,
            )
            for year, split in ((2007, 'trainval'), (2007, 'test'), (2012, 'trainval'))
        ]
    )
)

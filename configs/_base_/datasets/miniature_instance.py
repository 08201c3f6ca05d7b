# The study's detection data (`make miniature` draws them): SHAPES of six classes, small,
# crowded, half hidden and of low contrast.
_base_ = './shapes_instance.py'

data_root = 'data/miniature/detection/'
metainfo = dict(classes=('disc', 'rectangle', 'triangle', 'star', 'cross', 'ring'))
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

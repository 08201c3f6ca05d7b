# The study's detection data with the shapes' corners as keypoints (disc and ring have none)
_base_ = './shapes_keypoint.py'

data_root = 'data/miniature/detection/'
metainfo = dict(
    classes=('disc', 'rectangle', 'triangle', 'star', 'cross', 'ring'),
    keypoint_names=[f'corner{k}' for k in range(1, 13)],
    flip_pairs=[],
    keypoint_sigmas=[0.05] * 12,
)
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

# Claim 6: one or two objects an image, of two classes
_base_ = './mask_rcnn_r18_gn_ms.py'

data_root = 'data/miniature/sparse/'
metainfo = dict(classes=('rectangle', 'star'))
model = dict(roi_head=dict(bbox_head=dict(num_classes=2), mask_head=dict(num_classes=2)))
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

# Mask R-CNN's twin without the mask branch.
_base_ = './mask_rcnn_r50_gn.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None),
)

# Cascade R-CNN with one mask head, on the last of three box stages (paper, figure 5): IoU 0.5, 0.6
# and 0.7, loss weights 1, 0.5 and 0.25. Box head, mask head and sampling are the Mask R-CNN's; what
# the later stages change in them: mmscratch/models/single_mask_cascade_roi_head.py.
_base_ = './mask_rcnn_r50_gn.py'

# Until the cascade starts (default_hooks.start_cascade) the later stages get no gradient;
# DistributedDataParallel would wait for it.
find_unused_parameters = True
model = dict(type='CascadeRCNN', roi_head=dict(type='SingleMaskCascadeRoIHead'))

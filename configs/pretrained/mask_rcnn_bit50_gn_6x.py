# Not in the paper: Big Transfer's R50-GN from ImageNet-21k weights, 6x
_base_ = '../scratch/mask_rcnn_bit50_gn_6x.py'

load_from = (
    'https://huggingface.co/timm/resnetv2_50x1_bit.goog_in21k/resolve/main/model.safetensors'
)
default_hooks = dict(preflight=dict(init='pretrained'))

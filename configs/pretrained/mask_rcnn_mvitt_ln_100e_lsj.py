# Not in the paper: MViTv2-T from ImageNet weights, 100 epochs
_base_ = '../scratch/mask_rcnn_mvitt_ln_100e_lsj.py'

load_from = 'https://huggingface.co/timm/mvitv2_tiny.fb_in1k/resolve/main/model.safetensors'
default_hooks = dict(preflight=dict(init='pretrained'))

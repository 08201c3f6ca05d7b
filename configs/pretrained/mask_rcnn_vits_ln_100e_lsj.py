# Not in the paper: a plain ViT-S from ImageNet weights, 100 epochs
_base_ = '../scratch/mask_rcnn_vits_ln_100e_lsj.py'

load_from = (
    'https://huggingface.co/timm/vit_small_patch16_224.augreg_in1k/resolve/main/model.safetensors'
)
default_hooks = dict(preflight=dict(init='pretrained'))

"""Which published weights fit which norm layers: every cell of the table in configs/README.md."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mmscratch.errors import InputError
from mmscratch.weights.matched_weights import matched_weights

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ROWS = [
    [cell.strip() for cell in line.split('|')[1:-1]]
    for line in re.findall(
        r'^\| published weights .*?\n\|.*?\n(.*?)\n\n',
        (CONFIGS / 'README.md').read_text(),
        re.DOTALL | re.MULTILINE,
    )[0].splitlines()
]


def resnet(norm_layer=None) -> dict[str, torch.Tensor]:
    return torchvision.models.resnet50(norm_layer=norm_layer).state_dict()


def group_norm(channels: int) -> torch.nn.Module:
    return torch.nn.GroupNorm(32, channels)


def detectron2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's ResNet in detectron2's names."""
    renamed = {}
    for name, value in state.items():
        name = re.sub(r'^layer(\d)', lambda found: f'res{int(found[1]) + 1}', name)
        name = name if name.startswith('res') else f'stem.{name}'
        name = name.replace('downsample.0', 'shortcut').replace('downsample.1', 'shortcut.norm')
        renamed['backbone.bottom_up.' + re.sub(r'bn(\d)', r'conv\1.norm', name)] = value
    return renamed


def lite0() -> dict[str, torch.Tensor]:
    return (
        pytest.importorskip('efficientnet_lite_pytorch')
        .EfficientNet.from_name('efficientnet-lite0')
        .state_dict()
    )


def of_timm(name: str) -> dict[str, torch.Tensor]:
    return timm.create_model(name).state_dict()


# the words of the first column, and what stands for them
PUBLISHED = {
    'torchvision and timm; MoCo': [
        resnet,
        lambda: of_timm('resnet50'),
        lambda: {f'module.encoder_q.{key}': value for key, value in resnet().items()},
    ],
    'detectron2': [lambda: detectron2(resnet(group_norm))],
    'Big Transfer': [lambda: of_timm('resnetv2_50x1_bit')],
    'EfficientNet-Lite0': [lite0],
    'MViTv2-T': [lambda: of_timm('mvitv2_tiny')],
    'ViT-S/16': [lambda: of_timm('vit_small_patch16_224')],
    'VGG-16': [lambda: torchvision.models.vgg16().state_dict()],
}


def built(key: str) -> tuple[str, torch.nn.Module]:
    """The first config whose name has this backbone and norm, and its model."""
    config = next(CONFIGS.glob(f'scratch/*_{key.replace("lite0_gn", "lite0_bn")}_*.py'))
    register_all_modules()
    model = Config.fromfile(config).model
    if key == 'lite0_gn':
        model.backbone.norm_cfg = dict(type='GN', num_groups=8)
    with torch.device('meta'):
        return str(config), MODELS.build(model)


@pytest.mark.parametrize(('weights', 'norm', 'fit', 'refused'), ROWS)
def test_row(weights, norm, fit, refused):
    [factories] = [states for words, states in PUBLISHED.items() if words in weights]
    for factory in factories:
        with torch.device('meta'):
            state = factory()
        assert (norm == 'BN') == any(name.endswith('running_mean') for name in state)
        for key in re.findall(r'`(\w+)`', fit):
            config, model = built(key)
            matched = matched_weights(state, model, 'FILE', config, complete=False)
            assert (matched.share, matched.missing) == (1, [])
        for key in re.findall(r'`(\w+)`', refused):
            config, model = built(key)
            with pytest.raises(InputError) as error:
                matched_weights(state, model, 'FILE', config, complete=False)
            # BN to GN has a way out
            assert ('SyncBN' in str(error.value)) == (norm == 'BN')


def test_all_kinds_of_norm_layers_are_in_the_table():
    assert len(ROWS) == len(PUBLISHED)
    named = set(re.findall(r'`\w+?_(gn|bn|syncbn|ln|nonorm)`', ' '.join(map(' '.join, ROWS))))
    assert named == {'gn', 'bn', 'syncbn', 'ln', 'nonorm'}

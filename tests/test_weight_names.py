"""Published weights under each of their names, against models built side by side."""

import numpy as np
import pytest
import torch
import torchvision
from mmdet.models import ResNet
from torch import nn

from mmscratch.weight_names import fit


class Detector(nn.Module):
    """A ResNet-50 as a detector has it, and something after it."""

    def __init__(self, norm):
        super().__init__()
        norm_cfg = {
            'GN': dict(type='GN', num_groups=32, requires_grad=True),
            'BN': dict(type='BN', requires_grad=True),
        }[norm]
        self.backbone = ResNet(50, norm_cfg=norm_cfg, frozen_stages=-1, norm_eval=False)
        self.neck = nn.Conv2d(2048, 4, 1)


@pytest.fixture(scope='module')
def models() -> dict[str, Detector]:
    return {norm: Detector(norm).eval() for norm in ('GN', 'BN')}


@pytest.fixture(scope='module')
def torchvisions() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    norms = {'BN': nn.BatchNorm2d, 'GN': lambda channels: nn.GroupNorm(32, channels)}
    built = {n: torchvision.models.resnet50(norm_layer=layer) for n, layer in norms.items()}
    for model in built.values():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return {norm: model.eval() for norm, model in built.items()}


def in_detectrons_names(state: dict) -> dict[str, np.ndarray]:
    """torchvision's GN ResNet as detectron/modeling/ResNet.py names its blobs."""
    layers = {'conv1': '2a', 'conv2': '2b', 'conv3': '2c', 'downsample': '1'}
    blobs = {}
    for name, value in state.items():
        parts = name.split('.')
        if parts[0] == 'fc':
            blobs['pred_' + parts[1][0]] = value.numpy()
            continue
        kind = parts[-1]
        is_norm = 'bn' in name or 'downsample.1' in name
        suffix = {'weight': 's' if is_norm else 'w', 'bias': 'b'}[kind]
        if len(parts) == 2:
            blob = 'conv1_gn' if is_norm else 'conv1'
        else:
            stage, block, layer = int(parts[0][-1]) + 1, parts[1], parts[2]
            branch = layers[layer.replace('bn', 'conv')]
            blob = f'res{stage}_{block}_branch{branch}' + ('_gn' if is_norm else '')
        blobs[f'{blob}_{suffix}'] = value.numpy()
    return blobs


def outputs_agree(model: Detector, reference: nn.Module, weights: dict) -> bool:
    """Whether the backbone with ``weights`` computes what torchvision's model does."""
    model.load_state_dict(weights, strict=False)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours = model.backbone(image)[-1]
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        theirs = reference.layer4(reference.layer3(reference.layer2(reference.layer1(x))))
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def renamed(state: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ('norm', 'change'),
    [
        ('BN', lambda state: state),
        ('BN', lambda state: renamed(state, 'module.')),
        ('BN', lambda state: renamed(state, 'backbone.')),
        (
            'BN',
            lambda state: (
                {k: v + 1 for k, v in renamed(state, 'module.encoder_k.').items()}
                | renamed(state, 'module.encoder_q.')
                | {'module.queue': torch.zeros(128, 8)}
            ),
        ),
        ('GN', lambda state: state),
        ('GN', in_detectrons_names),
        ('GN', lambda state: {k.replace('bn', 'gn'): v for k, v in state.items()}),
    ],
    ids=['torchvision', 'module', 'backbone', 'moco', 'timm-gn', 'detectron', 'mmdet'],
)
def test_every_scheme_gives_the_same_function(models, torchvisions, norm, change):
    found = fit(change(torchvisions[norm].state_dict()), models[norm].state_dict())
    assert (found.share, found.missing, found.mismatched) == (1.0, [], [])
    assert not found.unexpected
    assert outputs_agree(models[norm], torchvisions[norm], found.weights)


def test_batch_norm_is_no_group_norm(models, torchvisions):
    found = fit(torchvisions['BN'].state_dict(), models['GN'].state_dict())
    assert len(found.weights) == 53  # the convolutions
    assert len(found.missing) == 2 * 53
    assert found.share == pytest.approx(1 / 3)


def test_another_depth_is_told(models):
    found = fit(torchvision.models.resnet18().state_dict(), models['BN'].state_dict())
    assert found.share < 0.4
    assert any('layer1.0.conv1' in text and '(64, 64, 3, 3)' in text for text in found.mismatched)


def test_detector_checkpoint_is_compared_with_the_whole_model(models):
    state = dict(models['GN'].state_dict())
    state['neck.weight'] = torch.zeros(5, 2048, 1, 1)
    del state['neck.bias']
    found = fit(state, models['GN'].state_dict())
    assert found.missing == ['neck.bias']
    assert found.mismatched == [
        'neck.weight: (5, 2048, 1, 1) in the file, (4, 2048, 1, 1) in the model'
    ]


def test_vggs_hidden_layers_go_to_the_box_head():
    model = nn.Module()
    model.backbone = nn.Module()
    with torch.device('meta'):
        model.backbone.features = torchvision.models.vgg16().features
        model.roi_head = nn.Module()
        model.roi_head.bbox_head = nn.Module()
        model.roi_head.bbox_head.shared_fcs = nn.ModuleList(
            [nn.Linear(25088, 4096), nn.Linear(4096, 4096)]
        )
        weights = torchvision.models.vgg16().state_dict()
    found = fit(weights, model.state_dict())
    assert (found.share, found.unexpected) == (1.0, [])
    assert len(found.weights) == 2 * 13 + 2 * 2

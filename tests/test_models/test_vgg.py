import itertools
import math
import re
from pathlib import Path

import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn
from torchvision.models.vgg import make_layers

from mmscratch.errors import InputError
from mmscratch.hooks.init_hook import fans
from mmscratch.models.vgg import VGG

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
GAUSSIAN = dict(type='Normal', std=0.01, layer='Conv2d')


@pytest.mark.parametrize(('depth', 'letter'), [(11, 'A'), (13, 'B'), (16, 'D'), (19, 'E')])
def test_same_layers_and_outputs_as_torchvision_without_the_last_pool(depth, letter):
    theirs = make_layers(torchvision.models.vgg.cfgs[letter])[:-1]
    ours = VGG(depth)
    assert [str(layer) for layer in ours.features] == [str(layer) for layer in theirs]
    ours.load_state_dict({f'features.{k}': value for k, value in theirs.state_dict().items()})
    images = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (out,) = ours(images)
        assert torch.equal(out, theirs(images))
    # stride 16
    assert out.shape == (1, 512, 3, 4)


def test_parameters_are_those_of_the_paper():
    """Simonyan and Zisserman's table 2: 138M with three fc layers, the convolutions 14.7M."""
    ours = sum(parameter.numel() for parameter in VGG().parameters())
    with torch.device('meta'):
        theirs = torchvision.models.vgg16()
    assert ours == sum(parameter.numel() for parameter in theirs.features.parameters()) == 14714688


def test_every_layer_learns():
    """Detectron's body stops the gradient behind pool2."""
    vgg = VGG(base_channels=4)
    vgg.init_weights()
    vgg.train()
    assert all(parameter.requires_grad for parameter in vgg.parameters())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    vgg(images)[0].sum().backward()
    for name, parameter in vgg.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_unknown_depth_is_refused():
    with pytest.raises(InputError, match='depth=17'):
        VGG(17)


def test_config_is_the_original_faster_rcnn_with_torchvisions_names():
    cfg = Config.fromfile(CONFIGS / 'scratch/faster_rcnn_vgg16_nonorm_11x_ms.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        theirs = torchvision.models.vgg16()
    state = model.state_dict()
    pairs = {f'features.{k}': f'backbone.features.{k}' for k in theirs.features.state_dict()}
    for theirs_number, ours_number in ((0, 0), (3, 1)):
        for kind in ('weight', 'bias'):
            pairs[f'classifier.{theirs_number}.{kind}'] = (
                f'roi_head.bbox_head.shared_fcs.{ours_number}.{kind}'
            )
    for theirs_name, value in theirs.state_dict().items():
        if theirs_name in pairs:
            assert state.pop(pairs[theirs_name]).shape == value.shape
    # what ImageNet's weights leave to be initialized
    assert {name.rpartition('.')[0] for name in state if 'preprocessor' not in name} == {
        'rpn_head.rpn_conv',
        'rpn_head.rpn_cls',
        'rpn_head.rpn_reg',
        'roi_head.bbox_head.fc_cls',
        'roi_head.bbox_head.fc_reg',
    }
    # anchors of 32 to 512 pixels at stride 16
    (anchors,) = model.rpn_head.prior_generator.gen_base_anchors()
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    sides = sorted({round(math.sqrt(area)) for area in areas.tolist()})
    assert sides == [32, 64, 128, 256, 512]
    assert [tuple(stride) for stride in model.rpn_head.prior_generator.strides] == [(16, 16)]
    # neither dropout nor norm layers
    kinds = {type(module).__name__ for module in model.modules()}
    assert not [kind for kind in kinds if 'Dropout' in kind or 'Norm' in kind]


def test_head_flattens_as_torchvisions_classifier_does():
    """Channel, row, column: else fc6 of ImageNet's weights would see its inputs shuffled."""
    cfg = Config.fromfile(CONFIGS / 'scratch/faster_rcnn_vgg16_nonorm_11x_ms.py')
    head = MODELS.build(dict(cfg.model.roi_head.bbox_head, in_channels=6, fc_out_channels=5))
    # torchvision.models.VGG with 6 channels in place of 512 and 5 in place of 4096
    pool, fc6, fc7 = nn.AdaptiveAvgPool2d(7), nn.Linear(6 * 49, 5), nn.Linear(5, 5)
    head.shared_fcs.load_state_dict(nn.ModuleList([fc6, fc7]).state_dict())
    regions = torch.randn(3, 6, 7, 7, generator=torch.Generator().manual_seed(0))
    fc6_input = torch.flatten(pool(regions), 1)
    wanted = head.fc_cls(fc7(fc6(fc6_input).relu()).relu())
    torch.testing.assert_close(head(regions)[0], wanted)


def test_config_fills_what_it_says():
    """MSRA by fan-out in body, fc6 and fc7; the rest as in Detectron."""
    cfg = Config.fromfile(CONFIGS / 'scratch/faster_rcnn_vgg16_nonorm_1200i_shapes.py')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    (rule,) = cfg.default_hooks.init.rules
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        # what this config's rule names is what the model does by itself
        if re.search(rule.pattern, name):
            std = math.sqrt(2 / fans(layer)[1])
        else:
            std = 0.001 if name.endswith('fc_reg') else 0.01
        # the smallest layers have some hundred weights
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1), name
        assert not layer.bias.any(), name


def initialized(init_cfg: dict | None, base_channels: int = 64) -> VGG:
    torch.manual_seed(0)
    vgg = VGG(base_channels=base_channels, init_cfg=init_cfg)
    vgg.init_weights()
    return vgg


@torch.no_grad()
def scales(vgg: VGG) -> list[float]:
    """RMS of the input, then of the output of each convolution."""
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    rms = [x.square().mean().sqrt().item()]
    for layer in vgg.features:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            rms.append(x.square().mean().sqrt().item())
    return rms


def test_msra_keeps_the_signal_and_small_gaussian_weights_lose_it():
    """He et al., ICCV 2015, section 2.2, is about this network: std 0.01 stalls it."""
    msra, gaussian = scales(initialized(None)), scales(initialized(GAUSSIAN))
    # by fan-out, a layer that doubles the channels halves the power, the first one takes 3/64 of it
    expected = math.sqrt(3 / 64 / 8)
    assert expected / 3 < msra[-1] / msra[0] < 3 * expected
    assert gaussian[-1] / gaussian[0] < 1e-5
    # every layer alone: a gain of sqrt(fan_in * 1e-4 / 2) with ReLU
    assert all(after < 0.75 * before for before, after in itertools.pairwise(gaussian))


@pytest.mark.parametrize(('init_cfg', 'learns'), [(None, True), (GAUSSIAN, False)])
def test_msra_trains_and_small_gaussian_weights_do_not(init_cfg, learns):
    """Two balanced classes, stripes that lie and that stand: log 2 is chance."""
    vgg = initialized(init_cfg, base_channels=8)
    classifier = nn.Linear(64, 2)
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)
    parameters = [*vgg.parameters(), *classifier.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)
    stripes = torch.sin(torch.arange(32) * 1.5).expand(32, 32)
    generator = torch.Generator().manual_seed(2)
    losses = []
    for _ in range(60):
        images = torch.stack([stripes, stripes.T] * 4)[:, None].expand(-1, 3, -1, -1)
        images = images + 0.3 * torch.randn(images.shape, generator=generator)
        logits = classifier(vgg(images)[0].mean(dim=(2, 3)))
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1] * 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(2), abs=0.05)
    if learns:
        assert max(losses[-10:]) < 0.1
    else:
        assert min(losses) > math.log(2) - 0.001

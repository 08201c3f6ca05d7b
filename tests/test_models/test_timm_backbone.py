"""timm's models as backbones: maps, names, norm layers, what is frozen, what is refused."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmscratch.errors import InputError
from mmscratch.hooks.preflight_hook import frozen_faults, norm_faults, norm_layers
from mmscratch.models import TimmBackbone

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
GN = dict(type='GN', num_groups=8)
SMALL = 'tf_efficientnet_lite0'


def images(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_maps_are_timms_own():
    lite = TimmBackbone(SMALL)
    theirs = timm.create_model(SMALL, features_only=True, out_indices=(1, 2, 3, 4))
    theirs.load_state_dict(lite.model.state_dict())
    with torch.no_grad():
        for ours, map_ in zip(lite.eval()(images()), theirs.eval()(images()), strict=True):
            # convolutions add up in another order
            torch.testing.assert_close(ours, map_, rtol=1e-4, atol=1e-4)
    assert (lite.out_channels, lite.strides) == ([24, 40, 112, 320], [4, 8, 16, 32])


@pytest.mark.parametrize(
    ('name', 'out_indices'),
    [
        (SMALL, (1, 2, 3, 4)),
        (SMALL, (1, 2)),
        ('resnet18', (1, 2, 3, 4)),
        ('resnetv2_50x1_bit', (1, 2, 3, 4)),
        ('mvitv2_tiny', (0, 1, 2, 3)),
        ('vit_small_patch16_224', (11,)),
        ('convnext_atto', (0, 1, 2, 3)),
    ],
)
def test_weights_keep_timms_names_and_each_one_learns(name, out_indices):
    backbone = TimmBackbone(name, out_indices=out_indices)
    with torch.device('meta'):
        whole = timm.create_model(name).state_dict()
    ours = backbone.model.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: whole[key].shape for key in ours
    }
    backbone.init_weights()
    # a sum alone would not change with what comes before a last norm layer
    size = (224, 224) if 'vit_' in name else (64, 96)
    maps = backbone(images(*size))
    assert [m.shape[1] for m in maps] == backbone.out_channels
    assert [size[0] // m.shape[2] for m in maps] == backbone.strides
    sum(m.square().mean() for m in maps).backward()
    assert not [key for key, value in backbone.named_parameters() if value.grad is None]


def test_init_weights_keeps_timms_values_and_takes_a_pretrained_file(tmp_path):
    torch.manual_seed(0)
    backbone = TimmBackbone('resnet18', options=dict(zero_init_last=False))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    torch.save(before, tmp_path / 'b.pth')
    file = str(tmp_path / 'b.pth')
    other = TimmBackbone('resnet18', init_cfg=dict(type='Pretrained', checkpoint=file))
    other.init_weights()
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())


@pytest.mark.parametrize('name', [SMALL, 'resnet18'])
def test_gn_takes_the_place_of_every_bn_with_its_activation(name):
    torch.manual_seed(0)
    own = TimmBackbone(name)
    torch.manual_seed(0)
    backbone = TimmBackbone(name, norm_cfg=GN)
    norms = norm_layers(backbone)
    assert norms.keys() == norm_layers(own).keys()
    assert {m.num_groups for m in norms.values() if isinstance(m, nn.GroupNorm)} == {8}
    assert all(isinstance(norm, nn.GroupNorm) for norm in norms.values())
    # where BN's statistics are an image's own, BN with a group of one channel is GN
    place, bn = next(iter(norm_layers(own).items()))
    x = torch.randn(1, bn.num_features, 8, 8, generator=torch.Generator().manual_seed(1))
    one_each = TimmBackbone(name, norm_cfg=GN).get_submodule(place)
    one_each.num_groups, one_each.eps = bn.num_features, bn.eps
    torch.testing.assert_close(one_each(x), bn(x))
    # timm's zeros at the end of each residual branch stay
    scales = [float(norm.weight.detach().mean()) for norm in norms.values()]
    assert scales == [float(norm.weight.detach().mean()) for norm in norm_layers(own).values()]


def test_bn_is_kept_with_other_numbers_and_syncbn_waits_for_a_launch():
    for kind in ('BN', 'SyncBN'):
        backbone = TimmBackbone(SMALL, norm_cfg=dict(type=kind, eps=0.5, momentum=0.25))
        norms = norm_layers(backbone).values()
        assert {(type(n).__name__, n.eps, n.momentum) for n in norms} == {
            ('BatchNormAct2d', 0.5, 0.25)
        }


def test_syncbn_of_a_distributed_run_keeps_the_activation(monkeypatch):
    monkeypatch.setattr('mmscratch.models.timm_backbone.is_distributed', lambda: True)
    norms = norm_layers(TimmBackbone(SMALL, norm_cfg=dict(type='SyncBN')))
    assert {type(norm).__name__ for norm in norms.values()} == {'SyncBatchNormAct'}
    assert isinstance(norms['model.bn1'].act, nn.ReLU6)


@pytest.mark.parametrize(
    ('name', 'stages', 'frozen'),
    [
        ('resnet18', -1, ()),
        ('resnet18', 0, ('conv1', 'bn1')),
        ('resnet18', 2, ('conv1', 'bn1', 'layer1', 'layer2')),
        (SMALL, 1, ('conv_stem', 'bn1', 'blocks.0')),
        (SMALL, 7, ('conv_stem', 'bn1', 'blocks')),
        ('vit_small_patch16_224', 1, ('cls', 'pos', 'patch_embed', 'blocks.0.')),
    ],
)
def test_frozen_stages(name, stages, frozen):
    last = (11,) if 'vit' in name else (1, 2, 3, 4)
    backbone = TimmBackbone(name, out_indices=last, frozen_stages=stages).train()
    for key, parameter in backbone.model.named_parameters():
        assert parameter.requires_grad == (not key.startswith(frozen or ('nothing',)))
    for key, norm in norm_layers(backbone.model).items():
        assert norm.training == norm.weight.requires_grad, key
    # preflight refuses this from scratch
    assert bool(frozen_faults(backbone)) == bool(frozen)
    assert bool(norm_faults(backbone)) == bool(frozen)


def test_norm_eval_is_what_preflight_refuses_from_scratch():
    backbone = TimmBackbone('resnet18', norm_eval=True).train()
    assert backbone.model.layer1.training
    [fault] = norm_faults(backbone)
    assert '20 of 20 norm layers are in eval mode' in fault


@pytest.mark.parametrize('name', [SMALL, 'resnetv2_50x1_bit', 'convnext_atto', 'mvitv2_tiny'])
def test_timms_norm_layers_have_no_weight_decay(name):
    backbone = TimmBackbone(name, out_indices=(0, 1, 2, 3))
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5))
    wrapper['paramwise_cfg'] = dict(norm_decay_mult=0.0)
    groups = build_optim_wrapper(backbone, wrapper).optimizer.param_groups
    decay = {p: group['weight_decay'] for group in groups for p in group['params']}
    norms = {p for norm in norm_layers(backbone).values() for p in norm.parameters()}
    assert {p for p, value in decay.items() if value == 0} == norms
    assert norms


@pytest.mark.parametrize(
    ('told', 'options'),
    [
        ('has no such model; the nearest names are resnet50', dict(model_name='resnet50x')),
        ('timm cannot make resnet18 with out_indices=(1, 9)', dict(out_indices=(1, 9))),
        ('got an unexpected keyword', dict(options=dict(no_such_option=1))),
        ('weights come by --init or load_from', dict(options=dict(checkpoint_path='a.pth'))),
        ('resnet18 has 4 stages up to its last map', dict(frozen_stages=5)),
        ('give at most that, or -1', dict(frozen_stages=-2)),
        ('does not divide the 64 channels', dict(norm_cfg=dict(type='GN', num_groups=48))),
        ('norm_cfg.groups=8: GN takes num_groups and eps', dict(norm_cfg=dict(GN, groups=8))),
        ('can have BN, SyncBN or GN', dict(norm_cfg=dict(type='LN2d'))),
        (
            'has no BN layer to replace); leave out norm_cfg',
            dict(model_name='mvitv2_tiny', out_indices=(0, 1, 2, 3), norm_cfg=GN),
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(told, options):
    with pytest.raises(InputError) as error:
        TimmBackbone(**dict(dict(model_name='resnet18'), **options))
    assert told in str(error.value)
    assert 'model.backbone' in str(error.value)
    assert '\n' not in str(error.value)


def test_sizes_of_images():
    backbone = TimmBackbone('vit_small_patch16_224', out_indices=(1,), options=dict(depth=2))
    with pytest.raises(InputError, match=r'takes no images of 64 x 96 pixels .*dynamic_img_size'):
        backbone(images())
    options = Config.fromfile(CONFIGS / '_base_/models/mask_rcnn_vits_ln_lsj.py')
    options = dict(options.model.backbone.options, depth=2)
    backbone = TimmBackbone('vit_small_patch16_224', out_indices=(1,), options=options)
    [map_] = backbone(images(50, 90))
    assert map_.shape == (2, 384, 4, 6)


def test_without_timm_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(InputError, match=r"pip install -e '.\[timm\]'"):
        TimmBackbone(SMALL)


@pytest.mark.parametrize(
    'name', ['mask_rcnn_bit50_gn_6x', 'mask_rcnn_mvitt_ln_100e_lsj', 'mask_rcnn_vits_ln_100e_lsj']
)
def test_the_twins_weights_are_timms_for_this_model_and_its_input(name):
    cfg = Config.fromfile(CONFIGS / f'pretrained/{name}.py')
    tagged = cfg.load_from.rpartition('/timm/')[2].partition('/')[0]
    theirs = timm.models.get_pretrained_cfg(tagged)
    assert theirs.hf_hub_id == f'timm/{tagged}'
    assert tagged.partition('.')[0] == cfg.model.backbone.model_name
    for key in ('mean', 'std'):
        ours = torch.tensor(cfg.model.data_preprocessor[key]) / 255
        torch.testing.assert_close(ours, torch.tensor(getattr(theirs, key)), rtol=1e-4, atol=1e-4)
    assert cfg.model.data_preprocessor.bgr_to_rgb

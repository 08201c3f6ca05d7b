"""Match published weights to a model, whatever names the file gives them.

Supported backbones: the ResNets of torchvision and timm (one naming scheme), of MMDetection, of
Detectron (``detectron/modeling/ResNet.py``, pickled by its ``utils/net.py``) and of detectron2;
MoCo's checkpoints, which put a prefix before torchvision's names; torchvision's VGG with the two
hidden layers of its classifier; and for :class:`mmscratch.models.TimmBackbone` all files of timm,
and EfficientNet-Lite as in ``efficientnet-lite-pytorch`` 0.1.0. Supported detectors: detectron2's
R-CNNs with FPN (``detectron2/modeling`` at commit 02b5c4e2).

detectron2 and MMDetection 3 agree in the order of classes (background last), of anchors and of box
deltas, and in the normalization of the deltas. Only the names change. Detectron and detectron2
train on BGR images, so the input channels of the first convolution are reversed for RGB models.
Where the model's images have other than three channels, the first convolution is adapted to them.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Prefixes that self-supervised and distributed training put before a backbone's names. The first
# that occurs is used. Names without it are left out, such as MoCo's key encoder and queue.
PREFIXES = (
    'module.encoder_q.',
    'encoder_q.',
    'module.base_encoder.',
    'base_encoder.',
    'module.',
    'backbone.',
)
DETECTOR_PARTS = ('neck.', 'rpn_head.', 'roi_head.', 'bbox_head.')
FIRST_CONV = 'backbone.conv1.weight'
NORMALIZATION = 'data_preprocessor.'  # SensorDataPreprocessor's
TIMM = 'backbone.model.'  # where TimmBackbone holds timm's model
VGG_HEAD = 'roi_head.bbox_head.shared_fcs.'
# torchvision's classifier is fc6, ReLU, dropout, fc7, ReLU, dropout, fc8
_VGG_LAYERS = {
    'features.': 'backbone.features.',
    'classifier.0.': f'{VGG_HEAD}0.',
    'classifier.3.': f'{VGG_HEAD}1.',
}
# The layers of a block of EfficientNet-Lite, with and without an expansion: theirs and timm's.
_LITE_BLOCK = {
    '_expand_conv': 'conv_pw',
    '_bn0': 'bn1',
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn2',
    '_project_conv': 'conv_pwl',
    '_bn2': 'bn3',
}
_LITE_FIRST_BLOCK = {
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn1',
    '_project_conv': 'conv_pw',
    '_bn2': 'bn2',
}
_LITE_ENDS = {
    '_conv_stem': 'conv_stem',
    '_bn0': 'bn1',
    '_conv_head': 'conv_head',
    '_bn1': 'bn2',
    '_fc': 'classifier',
}
# A block of a ResNet or of one of timm's models, and its stage.
_BLOCK = re.compile(
    r'(?P<stage>backbone\.(model\.)?(layer\d+|(blocks|stages)\.\d+(\.blocks)?)\.)\d+\.'
)
# The last layer of a classifier, which no detector has.
CLASSIFIER = re.compile(r'^(fc|head|classifier|pred|fc1000)([._]|$)')

# The layers of Detectron and detectron2, and their names here: torchvision's in the backbone,
# MMDetection's elsewhere. `_translate` converts the groups. An affine layer that Detectron's BN was
# merged into (_bn) is neither BN nor GN, so it has no name here.
_DETECTRON_LAYERS = {
    'conv1': 'conv1',
    'conv1_gn': 'bn1',
    r'res(?P<n>\d)_(?P<block>\d+)_branch1': 'layer{n}.{block}.downsample.0',
    r'res(?P<n>\d)_(?P<block>\d+)_branch1_gn': 'layer{n}.{block}.downsample.1',
    r'res(?P<n>\d)_(?P<block>\d+)_branch2(?P<letter>[abc])': 'layer{n}.{block}.conv{letter}',
    r'res(?P<n>\d)_(?P<block>\d+)_branch2(?P<letter>[abc])_gn': 'layer{n}.{block}.bn{letter}',
}
_DETECTRON2_LAYERS = {
    r'stem\.conv1': 'conv1',
    r'res(?P<n>[2-5])\.(?P<block>\d+)\.conv(?P<conv>[123])': 'layer{n}.{block}.conv{conv}',
    r'res(?P<n>[2-5])\.(?P<block>\d+)\.shortcut': 'layer{n}.{block}.downsample.0',
    r'fpn_lateral(?P<level>[2-5])': 'neck.lateral_convs.{level}.conv',
    r'fpn_output(?P<level>[2-5])': 'neck.fpn_convs.{level}.conv',
    r'proposal_generator\.rpn_head\.conv': 'rpn_head.rpn_conv',
    r'proposal_generator\.rpn_head\.conv\.conv(?P<k>\d+)': 'rpn_head.rpn_conv.{k}.conv',
    r'proposal_generator\.rpn_head\.objectness_logits': 'rpn_head.rpn_cls',
    r'proposal_generator\.rpn_head\.anchor_deltas': 'rpn_head.rpn_reg',
    r'roi_heads\.box_head\.(?P<stage>\d\.)?conv(?P<n>\d+)': (
        'roi_head.bbox_head.{stage}shared_convs.{n}.conv'
    ),
    r'roi_heads\.box_head\.(?P<stage>\d\.)?fc(?P<n>\d+)': (
        'roi_head.bbox_head.{stage}shared_fcs.{n}'
    ),
    r'roi_heads\.box_predictor\.(?P<stage>\d\.)?cls_score': 'roi_head.bbox_head.{stage}fc_cls',
    r'roi_heads\.box_predictor\.(?P<stage>\d\.)?bbox_pred': 'roi_head.bbox_head.{stage}fc_reg',
    r'roi_heads\.mask_head\.mask_fcn(?P<n>\d+)': 'roi_head.mask_head.convs.{n}.conv',
    r'roi_heads\.mask_head\.deconv': 'roi_head.mask_head.upsample',
    r'roi_heads\.mask_head\.predictor': 'roi_head.mask_head.conv_logits',
    r'roi_heads\.keypoint_head\.conv_fcn(?P<n>\d+)': 'roi_head.keypoint_head.convs.{n}.conv',
    r'roi_heads\.keypoint_head\.score_lowres': 'roi_head.keypoint_head.deconv',
}
# Names that only detectron2 has. `roi_heads` also occurs in torchvision's detectors.
_DETECTRON2 = re.compile(
    r'(backbone\.)?(bottom_up\.|fpn_(lateral|output)\d|res[2-5]\.\d+\.)|proposal_generator\.'
)
# Not used here: the normalization of images, anchors, and a classifier's last layer.
_DETECTRON2_REST = re.compile(
    r'pixel_(mean|std)|.*\.cell_anchors\.\d+|(.*\.)?(stem\.fc|linear)\.\w+'
)


@dataclass(frozen=True)
class MatchedWeights:
    """The weights of a file that match a model.

    Attributes:
        scheme: the library whose names the file uses.
        weights: the matching weights, by the model's names; shapes agree.
        missing: names of the model's weights that the file should contain and does not.
        mismatched: weights of another shape, as ``name: (3, 4) in the file, (5, 4) in the model``.
        unexpected: the file's names without a counterpart in the model, except a classifier's last
            layer.
        is_flipped: whether the first convolution was converted between BGR and RGB.
        first: the name of the model's first convolution, '' if it has none.
        adapted: what was done to its input channels, '' for nothing.
        deeper: those of ``unexpected`` that are of further blocks in a stage of the model. Without
            them another function would be computed.
        resized: how many of ``mismatched`` are those of a detector's heads for other classes:
            outside the backbone, and of another shape in their first dimension alone.
    """

    scheme: str
    weights: dict[str, Tensor]
    missing: list[str]
    mismatched: list[str]
    unexpected: list[str]
    is_flipped: bool
    first: str = ''
    adapted: str = ''
    deeper: Sequence[str] = ()
    resized: int = 0

    @property
    def num_unmatched(self) -> int:
        """Number of the model's weights that the file should contain and that do not match."""
        return len(self.missing) + len(self.mismatched)

    @property
    def share(self) -> float:
        """Share of matching weights among those that the file should contain, 0 to 1.

        Those that depend on the number of classes do not count.
        """
        return len(self.weights) / max(1, len(self.weights) + self.num_unmatched - self.resized)

    def describe(self) -> str:
        """Describe the match in one line: the counts, and the first name of each fault."""
        text = f'{self.scheme} names: {len(self.weights)} weights matched'
        text += ', red and blue swapped in conv1' if self.is_flipped else ''
        text += f', {self.first} {self.adapted}' if self.adapted else ''
        for kind, names in (
            ('missing', self.missing),
            ('of another shape', self.mismatched),
            ('unexpected', self.unexpected),
        ):
            text += f', {len(names)} {kind}' + (f' (first: {names[0]})' if names else '')
        return text


def match_weights(
    state: Mapping[str, Tensor | np.ndarray],
    model_state: Mapping[str, Tensor],
    whole: bool = False,
    rgb: bool | None = None,
    author: str = '',
    adapt: bool = False,
) -> MatchedWeights:
    """Match the weights of a file to those of a model.

    The weights of a detector are compared with the whole model. All others are taken for a
    classifier's. They are compared with the model's ``backbone``, and with the hidden layers of the
    box head if both are VGG's.

    Args:
        state: the file's weights by name.
        model_state: the model's weights by name.
        whole: Whether to compare with the whole model in any case.
        rgb: Whether the model takes RGB images; None leaves the first convolution as it is.
        author: ``__author__`` in detectron2's files.
        adapt: whether a run begins with the weights: its images have a normalization of their own,
            and a first convolution of three channels is adapted to theirs (:func:`adapted_conv`).
    """
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
        if isinstance(value, Tensor | np.ndarray) and isinstance(name, str)
    }
    unwrapped = {name.removeprefix('module.'): value for name, value in tensors.items()}
    backbone = {name for name in model_state if name.startswith('backbone.')}
    expected, is_rgb = backbone, None
    if not whole and unwrapped and unwrapped.keys() <= backbone:
        # this very backbone, whatever its architecture: tools/pretrain.py's
        scheme, named = 'MMDetection backbone', unwrapped
    elif any(_DETECTRON2.match(name) for name in unwrapped):
        scheme, named = 'detectron2', _from_detectron2(unwrapped, backbone)
        if whole or any(name.startswith(DETECTOR_PARTS) for name in named):
            expected = set(model_state)
        is_rgb = _detectron2_is_rgb(unwrapped, author)
    elif whole or any(name.startswith(DETECTOR_PARTS) for name in unwrapped):
        scheme, named, expected = 'MMDetection detector', unwrapped, set(model_state)
    else:
        scheme, named = _torchvision_names(tensors)
        if any(name.startswith('features.') for name in named):
            named = _vgg_names(named)
            expected = backbone | {name for name in model_state if name.startswith(VGG_HEAD)}
        elif any(name.startswith(TIMM) for name in backbone):
            named = {name.removeprefix('model.'): value for name, value in named.items()}
            if '_conv_stem.weight' in named:
                scheme, named = 'EfficientNet-Lite', _lite_names(named, model_state)
            else:
                scheme = 'timm' if scheme == 'torchvision' else scheme
            named = _timm_names(named, backbone)
        else:
            named = _resnet_names(named, backbone)
        is_rgb = False if scheme == 'Detectron' else None
    is_flipped = FIRST_CONV in named and None not in (is_rgb, rgb) and is_rgb != rgb
    if is_flipped:
        named[FIRST_CONV] = named[FIRST_CONV].flip(1)

    convolutions = (n for n in model_state if n in backbone and model_state[n].ndim == 4)
    first, adapted = next(convolutions, ''), ''
    is_detector = len(expected) == len(model_state)
    if adapt:
        expected = {name for name in expected if not name.startswith(NORMALIZATION)}
        named = {name: v for name, v in named.items() if not name.startswith(NORMALIZATION)}
        if first in named and fits_but_for_channels(named[first], model_state[first]):
            count = model_state[first].shape[1]
            named[first], adapted = adapted_conv(named[first], count)
    found = {name: value for name, value in named.items() if name in model_state}
    weights = {name: v for name, v in found.items() if v.shape == model_state[name].shape}
    # num_batches_tracked: a counter that only momentum=None reads, and older files lack
    missing = [
        name
        for name in model_state
        if name in expected and name not in found and not name.endswith('num_batches_tracked')
    ]
    mismatched = [
        f'{name}: {tuple(value.shape)} in the file, {tuple(model_state[name].shape)} in the model'
        for name, value in found.items()
        if name not in weights
    ]
    resized = [
        name
        for name in (found.keys() - weights.keys() - backbone if is_detector else ())
        if found[name].shape[1:] == model_state[name].shape[1:]
    ]
    unexpected = [
        name
        for name in named
        if name not in found and not CLASSIFIER.match(re.sub(r'^backbone\.(model\.)?', '', name))
    ]
    stages = {block['stage'] for block in map(_BLOCK.match, model_state) if block}
    deeper = [n for n in unexpected if (block := _BLOCK.match(n)) and block['stage'] in stages]
    return MatchedWeights(
        scheme,
        weights,
        missing,
        mismatched,
        unexpected,
        is_flipped,
        first,
        adapted,
        deeper,
        len(resized),
    )


def fits_but_for_channels(weight: Tensor, wanted: Tensor) -> bool:
    """Whether a convolution of three channels differs from another in their number alone."""
    (outputs, inputs, *kernel), (theirs, channels, *size) = weight.shape, wanted.shape
    return (outputs, inputs, kernel) == (theirs, 3, size) and channels != 3


def adapted_conv(weight: Tensor, channels: int) -> tuple[Tensor, str]:
    """Adapt the first convolution of colour images to another number of channels.

    The rule of timm's ``adapt_input_conv`` (timm/models/_manipulate.py): one channel takes the sum
    over the three, more of them take the three in turn, times 3 / channels.

    Args:
        weight: [O, 3, H, W].
        channels: of the images.

    Returns:
        The weight [O, channels, H, W], and what was done, in words.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True), 'narrowed from 3 channels to 1 (their sum)'
    repeated = weight.repeat(1, math.ceil(channels / 3), 1, 1)[:, :channels]
    word = 'widened' if channels > 3 else 'narrowed'
    how = f'{word} from 3 channels to {channels} (the three in turn, times 3/{channels})'
    return repeated * (3 / channels), how


def _translate(layer: str, layers: Mapping[str, str]) -> str | None:
    """Translate a layer's name by a table; None if no pattern matches.

    ``n`` counts from 1 in the file and from 0 here, stages of a ResNet from 2 and from 1, levels of
    the FPN from 2 and from 0. ``stage`` is one of a cascade.
    """
    convert = {
        'n': lambda text: int(text) - 1,
        'level': lambda text: int(text) - 2,
        'letter': lambda text: 'abc'.index(text) + 1,
    }
    for theirs, ours in layers.items():
        if found := re.fullmatch(theirs, layer):
            groups = found.groupdict('').items()
            return ours.format(**{key: convert.get(key, str)(text) for key, text in groups})
    return None


def _torchvision_names(tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the naming scheme, and the weights by torchvision's names without a prefix."""
    if any(map(_detectron_name, tensors)):
        kept = {name: v for name, v in tensors.items() if not name.endswith('_momentum')}
        return 'Detectron', {_detectron_name(name) or name: value for name, value in kept.items()}
    for prefix in PREFIXES:
        inner = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
        if inner:
            return (f'MoCo ({prefix})', inner) if 'encoder' in prefix else _torchvision_names(inner)
    has_gn = any(re.search(r'(^|\.)gn\d\.', name) for name in tensors)
    return 'MMDetection' if has_gn else 'torchvision', tensors


def _detectron_name(name: str) -> str | None:
    """Translate the name of a blob: the layer's, and w, s (a norm layer's weight) or b."""
    layer, _, kind = name.rpartition('_')
    ours = _translate(layer, _DETECTRON_LAYERS) if kind in ('w', 's', 'b') else None
    return ours and f'{ours}.{"bias" if kind == "b" else "weight"}'


def _from_detectron2(tensors: dict[str, Tensor], backbone: set[str]) -> dict[str, Tensor]:
    body: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition('.')
        conv = re.sub(r'^(backbone\.)?(bottom_up\.)?', '', layer).removesuffix('.norm')
        ours = _translate(conv, _DETECTRON2_LAYERS)
        if ours and layer.endswith('.norm'):
            # MMDetection names norm layers by their type
            norm = 'bn' if f'{layer}.running_mean' in tensors else 'gn'
            ours = re.sub(r'conv(\d?)$', rf'{norm}\1', ours.replace('downsample.0', 'downsample.1'))
        if ours:
            part = others if ours.startswith(DETECTOR_PARTS) else body
            part[f'{ours}.{kind}'] = value
        elif not _DETECTRON2_REST.fullmatch(name):
            others[name] = value
    return _resnet_names(body, backbone) | others


def _detectron2_is_rgb(tensors: dict[str, Tensor], author: str) -> bool:
    """Whether a file of detectron2 is for RGB images.

    Old files contain the images' mean. Files converted from torchvision and timm are for RGB. All
    others are taken for BGR, the default of ``INPUT.FORMAT``.
    """
    mean = tensors.get('pixel_mean')
    if mean is not None and mean.numel() == 3:
        # the red of ImageNet's mean is the brightest colour, the blue the darkest
        first, _, last = mean.flatten().tolist()
        return first > last
    return author in ('torchvision', 'timm')


def _resnet_names(named: dict[str, Tensor], backbone: set[str]) -> dict[str, Tensor]:
    """Add the prefix ``backbone.``, and name norm layers as the model does: ``gn1`` or ``bn1``."""
    file_has_bn, model_has_bn = (
        any(name.endswith('running_mean') for name in names) for names in (named, backbone)
    )
    letter = 'g' if any('.gn' in name for name in backbone) else 'b'
    renamed = {}
    for name, value in named.items():
        ours = re.sub(r'\.[bg]n(\d\.\w+)$', rf'.{letter}n\1', f'backbone.{name}')
        is_norm = re.search(r'(^|\.)([bg]n\d|downsample\.1)\.', name)
        # BN's scale does not fit GN: without the prefix it is unexpected
        renamed[name if is_norm and file_has_bn and not model_has_bn else ours] = value
    return renamed


def _timm_names(named: dict[str, Tensor], backbone: set[str]) -> dict[str, Tensor]:
    """Add the prefix of timm's model, but not to a BN layer's names where the model has GN."""
    renamed = {}
    for name, value in named.items():
        statistics = f'{name.rpartition(".")[0]}.running_mean'
        is_lost = statistics in named and f'{TIMM}{statistics}' not in backbone
        renamed[name if is_lost else f'{TIMM}{name}'] = value
    return renamed


def _lite_names(named: dict[str, Tensor], model_names: Iterable[str]) -> dict[str, Tensor]:
    """Give EfficientNet-Lite's weights timm's names; its blocks are counted across stages."""
    pattern = re.compile(rf'{re.escape(TIMM)}(blocks\.\d+\.\d+)\.')
    blocks = list(dict.fromkeys(found[1] for found in map(pattern.match, model_names) if found))
    renamed = {}
    for name, value in named.items():
        *block, layer, kind = name.split('.')
        layers, place = _LITE_ENDS, ''
        if len(block) == 2 and block[1].isdecimal() and int(block[1]) < len(blocks):
            has_expansion = f'_blocks.{block[1]}._expand_conv.weight' in named
            layers = _LITE_BLOCK if has_expansion else _LITE_FIRST_BLOCK
            place = f'{blocks[int(block[1])]}.'
        fits = layer in layers and bool(place) == bool(block)
        renamed[f'{place}{layers[layer]}.{kind}' if fits else name] = value
    return renamed


def _vgg_names(named: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in named.items():
        theirs = next((prefix for prefix in _VGG_LAYERS if name.startswith(prefix)), '')
        renamed[_VGG_LAYERS.get(theirs, '') + name.removeprefix(theirs)] = value
    return renamed

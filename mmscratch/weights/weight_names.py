"""Weights of an ImageNet classifier, under whatever names they were published, in a model's own.

Known are the ResNets of torchvision and timm (one scheme), of MMDetection and of Detectron
(``detectron/modeling/ResNet.py``, as pickled by its ``utils/net.py``), MoCo's checkpoints around
the first, and torchvision's VGG with the two hidden layers of its classifier. Known besides are
detectron2's ResNets and its whole R-CNNs with FPN (``detectron2/modeling`` at commit 02b5c4e2).

detectron2 and MMDetection 3 agree in the order of classes (background last), of anchors and of box
deltas, and in what the deltas are divided by; weights change their names alone. Detectron and
detectron2 train on BGR images, so the first convolution is turned round for a model of RGB ones.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# What self-supervised and distributed training put before a backbone's names; the first that
# occurs is taken, and names without it (MoCo's key encoder and queue) are left out.
PREFIXES = (
    'module.encoder_q.',
    'encoder_q.',
    'module.base_encoder.',
    'base_encoder.',
    'module.',
    'backbone.',
)
DETECTOR_PARTS = ('neck.', 'rpn_head.', 'roi_head.', 'bbox_head.')
FIRST = 'backbone.conv1.weight'
VGG_HEAD = 'roi_head.bbox_head.shared_fcs.'
# What a classifier ends in, which no detector takes.
CLASSIFIER = re.compile(r'^(fc|head|classifier|pred|fc1000)([._]|$)')

_DETECTRON = re.compile(
    r'(?P<conv1>conv1)_w|(?P<stem>conv1_gn|res_conv1_bn)_(?P<stem_kind>[sb])'
    r'|res(?P<stage>[2-5])_(?P<block>\d+)_branch(?P<branch>1|2[abc])(?P<norm>_bn|_gn)?_(?P<kind>[wsb])'
)
# detectron2's layers and ours, the backbone's as torchvision names them. `n` counts from one there
# and from zero here, levels of the FPN from 2; a cascade has its `stage` in the name.
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
# What only detectron2 has: torchvision's detectors too have `roi_heads`.
_DETECTRON2 = re.compile(
    r'(backbone\.)?(bottom_up\.|fpn_(lateral|output)\d|res[2-5]\.\d+\.)|proposal_generator\.'
)
# Of no meaning here: the normalization of images, anchors, and a classifier's last layer.
_DETECTRON2_REST = re.compile(
    r'pixel_(mean|std)|.*\.cell_anchors\.\d+|(.*\.)?(stem\.fc|linear)\.\w+'
)
_DETECTRON_LAYERS = {
    '1': ('downsample.0', 'downsample.1'),
    '2a': ('conv1', 'bn1'),
    '2b': ('conv2', 'bn2'),
    '2c': ('conv3', 'bn3'),
}


@dataclass(frozen=True)
class Fit:
    """Which of a model's weights a file has.

    Attributes:
        scheme: whose names the file uses.
        weights: what can be loaded, in the model's names; shapes agree.
        missing: the model's weights that the file should have and has not.
        mismatched: weights of another shape, as ``name: (3, 4) in the file, (5, 4) in the model``.
        unexpected: the file's names that mean nothing in the model; a classifier's last layer is
            not among them.
        flipped: whether the first convolution was turned from BGR to RGB, or back.
    """

    scheme: str
    weights: dict[str, Tensor]
    missing: list[str]
    mismatched: list[str]
    unexpected: list[str]
    flipped: bool = False

    @property
    def share(self) -> float:
        """Matched weights as a fraction of those that the file should have, 0 to 1."""
        return len(self.weights) / max(1, len(self.weights) + self.wanting)

    @property
    def wanting(self) -> int:
        """Number of weights of the model that stay as they were."""
        return len(self.missing) + len(self.mismatched)

    def describe(self) -> str:
        """One line: how many, and the first of each kind of exception."""
        text = f'{self.scheme} names: {len(self.weights)} weights matched'
        text += ', red and blue swapped in conv1' if self.flipped else ''
        for kind, names in (
            ('missing', self.missing),
            ('of another shape', self.mismatched),
            ('unexpected', self.unexpected),
        ):
            text += f', {len(names)} {kind}' + (f' (first: {names[0]})' if names else '')
        return text


def fit(
    state: Mapping[str, Tensor | np.ndarray],
    model_state: Mapping[str, Tensor],
    whole: bool = False,
    rgb: bool | None = None,
    author: str = '',
) -> Fit:
    """Find the model's weights in ``state``.

    A whole detector's checkpoint is compared with the whole model, name by name, and so is anything
    if ``whole``. Otherwise the file is taken for a classifier's and compared with the model's
    ``backbone``, and with the hidden layers of the box head if both are VGG's.

    Args:
        rgb: Whether the model takes RGB images; None: let the first convolution be.
        author: ``__author__`` of detectron2's files.
    """
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
        if isinstance(value, Tensor | np.ndarray) and isinstance(name, str)
    }
    plain = {name.removeprefix('module.'): value for name, value in tensors.items()}
    backbone = {name for name in model_state if name.startswith('backbone.')}
    is_rgb = None
    if any(_DETECTRON2.match(name) for name in plain):
        scheme, named = 'detectron2', dict(_from_detectron2(plain, backbone))
        is_detector = any(name.startswith(DETECTOR_PARTS) for name in named)
        wanted = set(model_state) if whole or is_detector else backbone
        is_rgb = _is_rgb(plain, author)
    elif whole or any(name.startswith(DETECTOR_PARTS) for name in plain):
        scheme, named, wanted = 'MMDetection detector', plain, set(model_state)
    else:
        scheme, named = _canonical(tensors)
        wanted = backbone
        if any(name.startswith('features.') for name in named):
            named = dict(_vgg_names(named))
            wanted |= {name for name in model_state if name.startswith(VGG_HEAD)}
        else:
            named = dict(_resnet_names(named, backbone))
        is_rgb = False if scheme == 'Detectron' else None
    flipped = FIRST in named and None not in (is_rgb, rgb) and is_rgb != rgb
    if flipped:
        named[FIRST] = named[FIRST].flip(1)
    return _compare(scheme, named, wanted, model_state, flipped)


def _canonical(tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The weights in torchvision's names without any prefix, and whose names they had."""
    if any(_DETECTRON.fullmatch(name) for name in tensors):
        return 'Detectron', dict(_from_detectron(tensors))
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            inner = {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
            if 'encoder' in prefix:
                return f'MoCo ({prefix})', inner
            scheme, inner = _canonical(inner)
            return scheme, inner
    if any(re.search(r'(^|\.)gn\d\.', name) for name in tensors):
        return 'MMDetection', tensors
    return 'torchvision', tensors


def _from_detectron(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in tensors.items():
        found = _DETECTRON.fullmatch(name)
        if not found:
            if not name.endswith('_momentum'):
                yield name, value
        elif found['conv1']:
            yield 'conv1.weight', value
        elif found['stem']:
            if 'bn' in found['stem']:
                # scale and shift with the statistics merged into them: neither BN's nor GN's
                yield name, value
            else:
                yield f'bn1.{"weight" if found["stem_kind"] == "s" else "bias"}', value
        elif found['norm'] == '_bn':
            yield name, value
        else:
            conv, norm = _DETECTRON_LAYERS[found['branch']]
            layer = norm if found['norm'] else conv
            kind = 'bias' if found['kind'] == 'b' else 'weight'
            yield f'layer{int(found["stage"]) - 1}.{found["block"]}.{layer}.{kind}', value


def _from_detectron2(
    tensors: dict[str, Tensor], backbone: set[str]
) -> Iterator[tuple[str, Tensor]]:
    body = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition('.')
        ours = _layer_of_detectron2(layer.removesuffix('.norm'))
        if ours and layer.endswith('.norm'):
            # named after its type
            norm = 'bn' if f'{layer}.running_mean' in tensors else 'gn'
            ours = re.sub(r'conv(\d?)$', rf'{norm}\1', ours.replace('downsample.0', 'downsample.1'))
        if ours and not ours.startswith(DETECTOR_PARTS):
            body[f'{ours}.{kind}'] = value
        elif ours:
            yield f'{ours}.{kind}', value
        elif not _DETECTRON2_REST.fullmatch(name):
            yield name, value
    yield from _resnet_names(body, backbone)


def _layer_of_detectron2(layer: str) -> str | None:
    layer = re.sub(r'^(backbone\.)?(bottom_up\.)?', '', layer)
    for theirs, ours in _DETECTRON2_LAYERS.items():
        found = re.fullmatch(theirs, layer)
        if found:
            parts = found.groupdict('')
            shift = {'n': 1, 'level': 2}
            return ours.format(
                **{k: int(v) - shift[k] if k in shift else v for k, v in parts.items()}
            )
    return None


def _is_rgb(tensors: dict[str, Tensor], author: str) -> bool:
    """Whether a file of detectron2 is for RGB images: old ones have their mean, converted ones are.

    All others are taken for BGR, the default of ``INPUT.FORMAT``.
    """
    mean = tensors.get('pixel_mean')
    if mean is not None and mean.numel() == 3:
        # ImageNet's red is the brightest colour, its blue the darkest
        first, _, last = mean.flatten().tolist()
        return first > last
    return author in ('torchvision', 'timm')


def _resnet_names(named: dict[str, Tensor], backbone: set[str]) -> Iterator[tuple[str, Tensor]]:
    """Under the model's names of norm layers: ``gn1`` for GroupNorm, ``bn1`` for the others."""
    has_bn = any(name.endswith('running_mean') for name in named)
    wants_bn = any(name.endswith('running_mean') for name in backbone)
    for name, value in named.items():
        is_norm = re.search(r'(^|\.)([bg]n\d|downsample\.1)\.', name)
        if is_norm and has_bn and not wants_bn:
            yield name, value  # BN's scale means nothing to GN: left without the prefix
            continue
        ours = 'backbone.' + name
        if ours not in backbone:
            swapped = re.sub(r'\.([bg])n(\d\.\w+)$', _other_norm, ours)
            ours = swapped if swapped in backbone else ours
        yield ours, value


def _other_norm(found: re.Match) -> str:
    return f'.{"g" if found[1] == "b" else "b"}n{found[2]}'


def _vgg_names(named: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    # torchvision's classifier is fc6, ReLU, dropout, fc7, ReLU, dropout, fc8
    hidden = {'classifier.0.': VGG_HEAD + '0.', 'classifier.3.': VGG_HEAD + '1.'}
    for name, value in named.items():
        for theirs, ours in hidden.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
        yield f'backbone.{name}' if name.startswith('features.') else name, value


def _compare(
    scheme: str,
    named: dict[str, Tensor],
    wanted: set[str],
    model_state: Mapping[str, Tensor],
    flipped: bool,
) -> Fit:
    # a counter that only momentum=None reads, absent from older files
    wanted = {name for name in wanted if not name.endswith('num_batches_tracked')}
    found = {name: value for name, value in named.items() if name in model_state}
    fitting = {n: v for n, v in found.items() if v.shape == model_state[n].shape}
    mismatched = [
        f'{name}: {tuple(value.shape)} in the file, {tuple(model_state[name].shape)} in the model'
        for name, value in found.items()
        if name not in fitting
    ]
    unexpected = [
        name
        for name in named
        if name not in model_state and not CLASSIFIER.match(name.removeprefix('backbone.'))
    ]
    missing = [name for name in model_state if name in wanted and name not in found]
    return Fit(scheme, fitting, missing, mismatched, unexpected, flipped)

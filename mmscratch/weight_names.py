"""Weights of an ImageNet classifier, under whatever names they were published, in a model's own.

Known are the ResNets of torchvision and timm (one scheme), of MMDetection and of Detectron
(``detectron/modeling/ResNet.py``, as pickled by its ``utils/net.py``), MoCo's checkpoints around
the first, and torchvision's VGG with the two hidden layers of its classifier.
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
VGG_HEAD = 'roi_head.bbox_head.shared_fcs.'
# What a classifier ends in, which no detector takes.
CLASSIFIER = re.compile(r'^(fc|head|classifier|pred|fc1000)([._]|$)')

_DETECTRON = re.compile(
    r'(?P<conv1>conv1)_w|(?P<stem>conv1_gn|res_conv1_bn)_(?P<stem_kind>[sb])'
    r'|res(?P<stage>[2-5])_(?P<block>\d+)_branch(?P<branch>1|2[abc])(?P<norm>_bn|_gn)?_(?P<kind>[wsb])'
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
    """

    scheme: str
    weights: dict[str, Tensor]
    missing: list[str]
    mismatched: list[str]
    unexpected: list[str]

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
) -> Fit:
    """Find the model's weights in ``state``.

    A whole detector's checkpoint is compared with the whole model, name by name, and so is anything
    if ``whole``. Otherwise the file is taken for a classifier's and compared with the model's
    ``backbone``, and with the hidden layers of the box head if both are VGG's.
    """
    tensors = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
        if isinstance(value, Tensor | np.ndarray)
    }
    names = [name.removeprefix('module.') for name in tensors]
    if whole or any(name.startswith(DETECTOR_PARTS) for name in names):
        named = {name.removeprefix('module.'): value for name, value in tensors.items()}
        return _compare('MMDetection detector', named, set(model_state), model_state)
    scheme, named = _canonical(tensors)
    backbone = {name for name in model_state if name.startswith('backbone.')}
    if any(name.startswith('features.') for name in named):
        named = dict(_vgg_names(named))
        backbone |= {name for name in model_state if name.startswith(VGG_HEAD)}
    else:
        named = dict(_resnet_names(named, backbone))
    return _compare(scheme, named, backbone, model_state)


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
    return Fit(scheme, fitting, missing, mismatched, unexpected)

"""Imports DSOD's released weights, Caffe's ``.caffemodel`` files.

Source of the layers, their names and their order: ``DSOD300_V3_Body`` and ``CreateMultiBoxHead`` in
the authors' ``model_libs.py`` (szq0214/DSOD at bbb6f0f). Prediction layers have names there.
pycaffe numbers all others in the order of the net, inputs first; the file has the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmscratch.errors import InputError
from mmscratch.models.dsod.dsod_head import DSODHead
from mmscratch.models.dsod.dsod_neck import DSODNeck
from mmscratch.models.dsod.dsod_net import DSODNet

# The fields of Caffe's caffe.proto that are read; protobuf skips all others of a file.
_FIELDS = (
    ('NetParameter', 'repeated', 'LayerParameter', 'layer', 100),
    ('LayerParameter', 'optional', 'string', 'name', 1),
    ('LayerParameter', 'optional', 'string', 'type', 2),
    ('LayerParameter', 'repeated', 'BlobProto', 'blobs', 7),
    ('BlobProto', 'repeated', 'float', 'data', 5),
    ('BlobProto', 'optional', 'BlobShape', 'shape', 7),
    ('BlobShape', 'repeated', 'int64', 'dim', 1),
)
_MAPS = ('First', 'Second', 'Third', 'Fourth', 'Fifth', 'Sixth')
# A layer's blobs under PyTorch's names. BatchNorm's third means something else: see `_statistics`.
_BLOBS = {
    'Convolution': ('weight',),
    'BatchNorm': ('running_mean', 'running_var', 'num_batches_tracked'),
    'Scale': ('weight', 'bias'),
    'Normalize': ('weight',),
}
_CURE = "give the config of this file's network and data set"


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights: name, Caffe's type, float32 arrays in the order of the file."""

    name: str
    type: str
    blobs: list[np.ndarray]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each blob."""
        return [blob.shape for blob in self.blobs]

    def __str__(self) -> str:
        return f'{self.name}, {self.type} of {_text(self.shapes)}'


@dataclass(frozen=True)
class _Place:
    """The place of a layer of Caffe's in our model.

    ``name`` is None if only the order tells which layer it is. ``priors`` is the number of priors a
    cell if the layer's channels are scores, else 0.
    """

    type: str
    prefix: str
    name: str | None = None
    priors: int = 0

    @property
    def keys(self) -> list[str]:
        return [f'{self.prefix}.{blob}' for blob in _BLOBS[self.type]]


def read_layers(file: Path) -> list[Layer]:
    """The layers with weights of a ``.caffemodel``, in the file's order.

    Raises:
        InputError: the file is missing, cut short, of another kind or without weights, as one of
            Caffe's older format (V1LayerParameter) is.
    """
    if not file.is_file():
        raise InputError(f'{file}: no such file; check the path')
    net = _net_parameter()()
    try:
        net.ParseFromString(file.read_bytes())
        layers = [
            Layer(_decoded(layer.name), _decoded(layer.type), list(map(_array, layer.blobs)))
            for layer in net.layer
            if layer.blobs
        ]
    except (DecodeError, ValueError):
        raise InputError(
            f'{file}: is cut short or not a .caffemodel; download it again, and check that it is '
            'not a web page'
        ) from None
    if not layers:
        raise InputError(f'{file}: holds no weights; give a .caffemodel of DSOD')
    return layers


def import_dsod(file: Path, model: nn.Module, config: str) -> dict[str, Tensor]:
    """The weights of ``file`` as a state dict of ``model``, which may be on the meta device.

    Caffe's background is class 0, MMDetection's is the last class: scores change their order, boxes
    and priors do not. BN's statistics are divided by the factor that Caffe keeps beside them. Every
    blob of the file is used, and every weight of the model is set. ``num_batches_tracked`` is 0:
    the file does not have it.

    Args:
        file: a ``.caffemodel`` as the authors' scripts write it.
        model: a detector of :class:`DSODNet`, :class:`DSODNeck` and :class:`DSODHead`.
        config: where the model comes from, for messages.

    Raises:
        InputError: as for :func:`read_layers`; or the model is not DSOD with BN; or file and model
            differ in a layer, of which the message names the first.
    """
    state = model.state_dict()
    places = _checked_places(model, config)
    layers = read_layers(file)
    by_name = {layer.name: layer for layer in layers}
    # a place without a name takes the next layer that no place names
    names = {place.name for place in places}
    numbered = (layer for layer in layers if layer.name not in names)
    weights: dict[str, Tensor] = {}
    for place in places:
        # Caffe's scalars have one dimension
        shapes = [tuple(state[key].shape) or (1,) for key in place.keys]
        layer = by_name.get(place.name) if place.name else next(numbered, None)
        if layer is None or (layer.type, layer.shapes) != (place.type, shapes):
            raise InputError(
                f'{file}: has {layer or "no layer"} where the model of {config} has '
                f'{place.name or "a"} {place.type} of {_text(shapes)} ({place.prefix}); {_CURE}'
            )
        blobs = _statistics(*layer.blobs) if place.type == 'BatchNorm' else layer.blobs
        for key, blob in zip(place.keys, blobs):
            value = torch.from_numpy(blob)
            scores = place.priors and value.ndim
            weights[key] = _background_last(value, place.priors) if scores else value
    if layer := next(numbered, None):
        raise InputError(f'{file}: has {layer} where the model of {config} has no layer; {_CURE}')
    return weights


def _net_parameter() -> type[Message]:
    """The class of Caffe's ``NetParameter``, with the fields above."""
    proto = descriptor_pb2.FileDescriptorProto(name='caffe.proto', package='caffe')
    names = dict.fromkeys(name for owner, _, kind, *_ in _FIELDS for name in (owner, kind))
    messages = {name: proto.message_type.add(name=name) for name in names if name[0].isupper()}
    for owner, label, kind, name, number in _FIELDS:
        field = messages[owner].field.add(name=name, number=number)
        field.label = field.Label.Value(f'LABEL_{label.upper()}')
        field.type = field.Type.Value(f'TYPE_{"MESSAGE" if kind in messages else kind.upper()}')
        if kind in messages:
            field.type_name = f'.caffe.{kind}'
    # a pool of our own: an installed pycaffe has its caffe.proto in the default one
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(proto.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName('caffe.NetParameter'))


def _array(blob: Message) -> np.ndarray:
    shape = tuple(blob.shape.dim)
    if min(shape, default=1) < 0:  # which numpy would fill in
        raise ValueError
    return np.array(blob.data, np.float32).reshape(shape)


def _decoded(text: str | bytes) -> str:
    """A name, which protobuf leaves as bytes where it is not UTF-8; ValueError then."""
    return text.decode() if isinstance(text, bytes) else text


def _checked_places(model: nn.Module, config: str) -> list[_Place]:
    """All places of the model; InputError if its weights are not those of the authors' nets."""
    for name, kind in dict(backbone=DSODNet, neck=DSODNeck, bbox_head=DSODHead).items():
        if not isinstance(getattr(model, name, None), kind):
            raise InputError(
                f'{config}: model.{name} is no {kind.__name__}; give one of '
                'configs/dsod/dsod300_*.py'
            )
    places = [*_body(model), *_head(model.bbox_head)]
    strange = set(model.state_dict()) ^ {key for place in places for key in place.keys}
    if strange:
        raise InputError(
            f"{config}: its model differs from the authors' nets in {min(strange)}: they have BN, "
            f'at every convolution, and {len(_MAPS)} maps or fewer; give a config with them'
        )
    return places


def _body(model: nn.Module) -> Iterator[_Place]:
    """Backbone and neck in the order of the file: reused layers before learned ones."""
    backbone, neck = model.backbone, model.neck
    parts = [backbone.stem]
    for block, transition in zip(backbone.blocks, backbone.transitions):
        parts += [block, transition]
    parts += neck.reused[:1]
    for i, learned in enumerate(neck.learned):
        parts += [*neck.reused[i + 1 : i + 2], learned]
    prefixes = {module: name for name, module in model.named_modules()}
    for part in parts:
        for module in part.modules():
            if isinstance(module, ConvModule):
                yield from _conv_places(module, prefixes[module])


def _head(head: DSODHead) -> Iterator[_Place]:
    for i, (source, priors) in enumerate(zip(_MAPS, head.num_base_priors)):
        yield _Place('Normalize', f'bbox_head.l2_norms.{i}', f'{source}_norm')
        box, score = f'{source}_norm_mbox_loc', f'{source}_norm_mbox_conf'
        yield from _conv_places(head.reg_convs[i], f'bbox_head.reg_convs.{i}', box)
        yield from _conv_places(head.cls_convs[i], f'bbox_head.cls_convs.{i}', score, priors)


def _conv_places(
    module: ConvModule, prefix: str, name: str | None = None, priors: int = 0
) -> Iterator[_Place]:
    for step in module.order:
        if step == 'conv':
            yield _Place('Convolution', f'{prefix}.conv', name, priors)
        elif step == 'norm' and module.with_norm:
            norm = f'{prefix}.{module.norm_name}'
            yield _Place('BatchNorm', norm, name and f'{name}_bn', priors)
            yield _Place('Scale', norm, name and f'{name}_scale', priors)


def _statistics(mean: np.ndarray, var: np.ndarray, factor: np.ndarray) -> list[np.ndarray]:
    """Mean, variance, and 0 for the unknown number of batches.

    Caffe keeps decaying sums; ``factor`` is the sum of their weights.
    """
    scale = np.float32(0 if factor[0] == 0 else 1 / factor[0])
    return [mean * scale, var * scale, np.zeros((), np.int64)]


def _background_last(value: Tensor, priors: int) -> Tensor:
    """Channels [P x (1 + classes), ...] to [P x (classes + 1), ...]."""
    return value.unflatten(0, (priors, -1)).roll(-1, 1).flatten(0, 1)


def _text(shapes: list[tuple[int, ...]]) -> str:
    return ' and '.join(str(shape) for shape in shapes)

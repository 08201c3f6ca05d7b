"""A DSOD written and computed as Caffe does, layer by layer, against ours with its weights."""

import os
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from torch import nn

from mmscratch.errors import InputError
from mmscratch.models.dsod.caffe_weights import import_dsod, read_layers
from mmscratch.weights import checkpoint

ROOT = Path(__file__).resolve().parents[3]
MAPS = ['First', 'Second', 'Third', 'Fourth', 'Fifth', 'Sixth']
CLASSES, PRIORS = 3, [4, 6, 6, 6, 4, 4]
# of the small net: A, B, k, layers of the blocks, the last transition and half a map's channels
STEM, BOTTLENECK, GROWTH, LAYERS, LAST, HALVES = 4, 6, 3, (2, 1, 2, 1), 10, (10, 5, 5, 5)


@dataclass(eq=False)
class CaffeLayer:
    """As a prototxt has it, with its blobs."""

    type: str
    name: str
    bottoms: list[str]
    top: str
    blobs: list[np.ndarray] = field(default_factory=list)
    options: dict = field(default_factory=dict)


class CaffeNet:
    """Layers in the order of the file, with random weights."""

    def __init__(self, growth: int = GROWTH, classes: int = CLASSES):
        self.layers: list[CaffeLayer] = []
        self.channels = {'data': 3}
        self.random = np.random.default_rng(0)
        self.growth, self.classes = growth, classes
        self._body()
        for source, priors in zip(MAPS, PRIORS):
            self._head(source, priors)

    def add(self, type: str, bottoms: list[str], channels: int, name: str = '', top: str = ''):
        number = sum(layer.type == type for layer in self.layers) + 1
        name = name or f'{type}{number}'
        self.layers.append(CaffeLayer(type, name, bottoms, top or name))
        self.channels[top or name] = channels
        return top or name

    def weigh(self, *blobs: np.ndarray, **options) -> None:
        self.layers[-1].blobs = [blob.astype(np.float32) for blob in blobs]
        self.layers[-1].options = options

    def conv(self, x: str, out: int, kernel: int, stride: int = 1, name: str = '') -> str:
        inside = self.channels[x]
        y = self.add('Convolution', [x], out, name)
        scale = 1 / np.sqrt(inside * kernel**2)
        weight = self.random.normal(0, scale, (out, inside, kernel, kernel))
        self.weigh(weight, stride=stride, pad=kernel // 2)
        return y

    def norm(self, x: str, name: str = '', eps: float = 1e-5) -> str:
        """BatchNorm and Scale. A layer with a name works in place, as its Scale always does."""
        channels = self.channels[x]
        y = self.add('BatchNorm', [x], channels, name and f'{name}_bn', x if name else '')
        factor = self.random.uniform(5, 900, 1)
        mean, var = self.random.normal(0, 0.3, channels), self.random.uniform(0.3, 1.5, channels)
        self.weigh(mean * factor, var * factor, factor, eps=eps)
        self.add('Scale', [y], channels, name and f'{name}_scale', y)
        self.weigh(self.random.normal(1, 0.3, channels), self.random.normal(0, 0.3, channels))
        return y

    def relu(self, x: str, in_place: bool = True) -> str:
        return self.add('ReLU', [x], self.channels[x], top=x if in_place else '')

    def pool(self, x: str) -> str:
        return self.add('Pooling', [x], self.channels[x])

    def concat(self, *parts: str, name: str = '') -> str:
        return self.add('Concat', list(parts), sum(self.channels[x] for x in parts), name)

    def split(self, x: str) -> str:
        """What Caffe itself puts in where two layers use one blob."""
        return self.add('Split', [x], self.channels[x], f'{x}_split')

    def bn_relu_conv(self, x, out, kernel, stride=1, name='', in_place=True) -> str:
        return self.conv(self.relu(self.norm(x), in_place), out, kernel, stride, name)

    def dense_block(self, x: str, depth: int) -> str:
        for _ in range(depth):
            x = self.split(x)
            y = self.bn_relu_conv(x, BOTTLENECK, 1)
            x = self.concat(x, self.bn_relu_conv(y, self.growth, 3))
        return x

    def transition(self, x: str, out: int | None = None, name: str = '') -> str:
        return self.bn_relu_conv(x, out or self.channels[x], 1, name=name, in_place=False)

    def _body(self) -> None:
        x = self.conv('data', STEM, 3, stride=2)
        x = self.conv(self.relu(self.norm(x)), STEM, 3)
        x = self.conv(self.relu(self.norm(x)), 2 * STEM, 3)
        x = self.pool(self.relu(self.norm(x)))
        x = self.pool(self.transition(self.dense_block(x, LAYERS[0])))
        first = self.transition(self.dense_block(x, LAYERS[1]), name='First')
        x = self.dense_block(self.pool(first), LAYERS[2])
        x = self.dense_block(self.transition(x), LAYERS[3])
        x = self.transition(x, LAST)
        reused = self.bn_relu_conv(self.pool(first), LAST, 1)
        x = self.concat(x, reused, name='Second')
        for half, name in zip(HALVES, MAPS[2:]):
            reused = self.bn_relu_conv(self.pool(x), half, 1)
            learned = self.bn_relu_conv(self.bn_relu_conv(x, half, 1), half, 3, stride=2)
            x = self.concat(reused, learned, name=name)

    def _head(self, source: str, priors: int) -> None:
        channels = self.channels[source]
        x = self.add('Normalize', [source], channels, f'{source}_norm')
        self.weigh(self.random.normal(20, 3, channels))
        for kind, out in (('loc', 4 * priors), ('conf', (1 + self.classes) * priors)):
            y = self.conv(x, out, 3, name=f'{x}_mbox_{kind}')
            self.norm(y, name=y, eps=1e-3)
            self.add('Permute', [y], out, f'{y}_perm')
            self.add('Flatten', [f'{y}_perm'], out, f'{y}_flat')
        self.add('PriorBox', [x, 'data'], 2, f'{x}_mbox_priorbox')

    @torch.no_grad()
    def run(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        blobs = {'data': images.double()}
        for layer in self.layers:
            if layer.type == 'PriorBox':
                continue
            weights = [torch.from_numpy(blob).double() for blob in layer.blobs]
            inputs = [blobs[name] for name in layer.bottoms]
            blobs[layer.top] = COMPUTE[layer.type](inputs, weights, **layer.options)
        return blobs

    def write(self, file: Path) -> Path:
        layers = [message(1, b'test'), *(message(100, self._encoded(x)) for x in self.layers)]
        file.write_bytes(b''.join(layers))
        return file

    @staticmethod
    def _encoded(layer: CaffeLayer) -> bytes:
        # name, type, bottoms, top, and what an importer has to skip: phase, a parameter
        parts = [message(1, layer.name.encode()), message(2, layer.type.encode())]
        parts += [message(3, name.encode()) for name in layer.bottoms]
        parts += [message(4, layer.top.encode()), varint(10 << 3) + varint(0)]
        parts.append(message(6, varint(3 << 3 | 5) + struct.pack('<f', 0.5)))
        for blob in layer.blobs:
            shape = message(1, b''.join(map(varint, blob.shape)))
            data = message(5, struct.pack(f'<{blob.size}f', *blob.ravel()))
            parts.append(message(7, data + message(7, shape)))
        return b''.join(parts)


def per_channel(values: torch.Tensor) -> torch.Tensor:
    return values[None, :, None, None]


def batch_norm(inputs, weights, eps):
    mean, var, factor = weights
    scale = 0 if factor.item() == 0 else 1 / factor
    return (inputs[0] - per_channel(mean * scale)) / per_channel(var * scale + eps).sqrt()


COMPUTE = {
    'Convolution': lambda i, w, stride, pad: F.conv2d(i[0], w[0], stride=stride, padding=pad),
    'BatchNorm': batch_norm,
    'Scale': lambda i, w: i[0] * per_channel(w[0]) + per_channel(w[1]),
    'ReLU': lambda i, w: i[0].clamp(min=0),
    'Pooling': lambda i, w: F.max_pool2d(i[0], 2, 2, ceil_mode=True),
    'Concat': lambda i, w: torch.cat(i, 1),
    'Split': lambda i, w: i[0],
    'Normalize': lambda i, w: (
        per_channel(w[0]) * i[0] / (i[0].square().sum(1, keepdim=True) + 1e-10).sqrt()
    ),
    'Permute': lambda i, w: i[0].permute(0, 2, 3, 1),
    'Flatten': lambda i, w: i[0].flatten(1),
}


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def message(field_number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return varint(field_number << 3 | 2) + varint(len(content)) + content


def small_config(**parts: dict) -> Config:
    """Our config of the same size, with changes to parts of the model."""
    inside = 2 * STEM + GROWTH * sum(LAYERS[:2])
    channels = (inside, *(2 * half for half in (LAST, *HALVES)))
    config = Config.fromfile(ROOT / 'configs/dsod/_base_/models/dsod300.py')
    backbone = dict(
        first_channels=STEM,
        bottleneck=BOTTLENECK,
        growth=GROWTH,
        layers=LAYERS,
        last_channels=LAST,
    )
    neck = dict(in_channels=(inside, LAST), half_channels=HALVES)
    head = dict(num_classes=CLASSES, in_channels=channels)
    config.merge_from_dict(dict(model=dict(backbone=backbone, neck=neck, bbox_head=head)))
    config.merge_from_dict(dict(model=parts))
    return config


@pytest.fixture(scope='module')
def model() -> nn.Module:
    """Shapes alone."""
    with torch.device('meta'):
        return MODELS.build(small_config().model)


@pytest.fixture
def net() -> CaffeNet:
    return CaffeNet()


def test_the_same_scores_and_boxes_as_in_caffe(net, tmp_path):
    # this BN has counted no images, which Caffe takes for statistics of 0
    layer(net, 'BatchNorm2').blobs[2][:] = 0
    # without it values would grow by 1 / sqrt(eps)
    layer(net, 'Scale2').blobs[0] *= 3e-3
    model = MODELS.build(small_config().model).eval()
    weights = import_dsod(net.write(tmp_path / 'small.caffemodel'), model, 'CONFIG')
    model.load_state_dict(weights)
    # sides that do not halve evenly, so that pools have to round up
    images = torch.randn(2, 3, 100, 84, generator=torch.Generator().manual_seed(0))
    blobs = net.run(images)
    with torch.no_grad():
        scores, boxes = model.double().bbox_head(model.extract_feat(images.double()))
    assert [tuple(x.shape[2:]) for x in scores[:3]] == [(13, 11), (7, 6), (4, 3)]
    for i, source in enumerate(MAPS):
        theirs = blobs[f'{source}_norm_mbox_loc_flat'].reshape(2, -1, 4)
        ours = boxes[i].permute(0, 2, 3, 1).reshape(2, -1, 4)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        theirs = blobs[f'{source}_norm_mbox_conf_flat'].reshape(2, -1, 1 + CLASSES)
        ours = scores[i].permute(0, 2, 3, 1).reshape(2, -1, CLASSES + 1)
        torch.testing.assert_close(ours[..., -1], theirs[..., 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours[..., :-1], theirs[..., 1:], rtol=1e-5, atol=1e-5)
        assert theirs.std() > 0.1


def test_priors_come_in_caffes_order():
    """What PriorBox of the SSD branch makes of the authors' sizes, for 300 x 300 pixels."""
    sizes, steps = [30, 60, 111, 162, 213, 264, 315], [8, 16, 32, 64, 100, 300]
    cells = [38, 19, 10, 5, 3, 2]
    generator = TASK_UTILS.build(small_config().model.bbox_head.anchor_generator)
    ours = generator.grid_priors([(n, n) for n in cells], device='cpu')
    for i, (n, step) in enumerate(zip(cells, steps)):
        least, most = sizes[i : i + 2]
        sides = [(least, least), (np.sqrt(least * most),) * 2]
        for ratio in [2, 3] if PRIORS[i] == 6 else [2]:
            long, short = least * np.sqrt(ratio), least / np.sqrt(ratio)
            sides += [(long, short), (short, long)]
        theirs = [
            [(x + 0.5) * step + sign * w / 2, (y + 0.5) * step + sign * h / 2]
            for y in range(n)
            for x in range(n)
            for w, h in sides
            for sign in (-1, 1)
        ]
        theirs = torch.tensor(theirs).reshape(-1, 4).float()
        torch.testing.assert_close(ours[i], theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ('classes', 'numbers', 'megabytes'), [(20, 14_795_828, 59.2), (80, 21_784_148, 87.2)]
)
def test_as_many_numbers_as_in_the_released_files(classes, numbers, megabytes):
    """The sizes that the authors print; a BN has its factor where ours counts batches."""
    config = Config.fromfile(ROOT / 'configs/dsod/_base_/models/dsod300.py')
    config.model.bbox_head.num_classes = classes
    with torch.device('meta'):
        model = MODELS.build(config.model)
    assert sum(value.numel() for value in model.state_dict().values()) == numbers
    assert numbers * 4e-6 == pytest.approx(megabytes, abs=0.1)


def layer(net: CaffeNet, name: str) -> CaffeLayer:
    return next(layer for layer in net.layers if layer.name == name)


def drop(net: CaffeNet, name: str) -> None:
    net.layers = [layer for layer in net.layers if layer.name != name]


def reshape(net: CaffeNet, name: str, *shape: int) -> None:
    layer(net, name).blobs = [np.zeros(shape, np.float32)]


def surplus(net: CaffeNet) -> None:
    net.add('InnerProduct', ['Sixth'], 7, 'fc')
    net.weigh(np.zeros((7, 10)), np.zeros(7))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda net: reshape(net, 'Convolution5', 4, 6, 3, 3),
            r'has Convolution5, Convolution of \(4, 6, 3, 3\) where the model of CONFIG has a '
            r'Convolution of \(3, 6, 3, 3\) \(backbone\.blocks\.0\.0\.grow\.conv\)',
        ),
        (
            lambda net: reshape(net, 'First_norm', 1),
            r'First_norm, Normalize of \(1,\) where .* of \(17,\) \(bbox_head\.l2_norms\.0\)',
        ),
        (
            lambda net: drop(net, 'Scale7'),
            r'has Convolution7, Convolution of .* where .* has a Scale of \(6,\) and \(6,\)',
        ),
        (
            lambda net: drop(net, 'Sixth_norm_mbox_conf_bn'),
            'no layer .* has Sixth_norm_mbox_conf_bn Batch',
        ),
        (surplus, r'has fc, InnerProduct of \(7, 10\) and \(7,\) where the model of CONFIG has no'),
        (
            lambda net: CaffeNet(growth=5),
            r'Convolution5, Convolution of \(5, .* give the config of this file.s network',
        ),
        (
            lambda net: CaffeNet(classes=7),
            r'First_norm_mbox_conf, Convolution of \(32, .*of \(16, .* network and data set',
        ),
        (
            lambda net: reshape(net, 'First_norm_mbox_conf', 15, 17, 3, 3),
            'First_norm_mbox_conf, .* give the config of this file.s network',
        ),
    ],
)
def test_what_does_not_fit_is_named(model, net, change, words, tmp_path):
    file = (change(net) or net).write(tmp_path / 'small.caffemodel')
    with pytest.raises(InputError, match=words) as error:
        import_dsod(file, model, 'CONFIG')
    assert str(error.value).startswith(f'{file}: ')
    assert '\n' not in str(error.value)


def blob_of(sides):
    """A file of one layer of two numbers."""
    blob = message(5, b'12345678') + message(7, message(1, sides))
    return message(100, message(1, b'c') + message(7, blob))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda data: data[:-5], 'is cut short or not a .caffemodel; download it again'),
        (lambda data: b'<!DOCTYPE html><html><head><title>Drive</title>', 'not a .caffemodel'),
        (lambda data: b'name: "DSOD300"\nlayer {\n  name: "data"\n}', 'not a .caffemodel'),
        (lambda data: b'', 'holds no weights'),
        (lambda data: message(2, message(4, b'conv1')), 'holds no weights'),
        (
            lambda data: message(
                100, message(1, b'c') + message(7, message(5, b'1234') + message(7, b'\n\1\2'))
            ),
            'is cut short',
        ),
        (lambda data: blob_of(b'\xff' * 9 + b'\1' + b'\2'), 'is cut short'),
        (lambda data: blob_of(b'\x80' * 8 + b'\x40'), 'is cut short'),
        (lambda data: blob_of(b'\1' * 70), 'is cut short'),
        (lambda data: data.replace(b'First_norm', b'\xffirst_norm'), 'is cut short'),
    ],
    ids=['cut short', 'web page', 'prototxt', 'empty', 'V1', 'too few numbers']
    + ['sides of -1 and 2', 'a side of 2**62', '70 sides', 'no UTF-8'],
)
def test_another_kind_of_file_is_refused(net, change, words, tmp_path):
    file = net.write(tmp_path / 'small.caffemodel')
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=words) as error:
        read_layers(file)
    assert str(error.value).startswith(f'{file}: ')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('parts', 'words'),
    [
        (dict(neck=dict(norm_cfg=dict(type='GN', num_groups=1, _delete_=True))), r'neck\.\S+gn\.'),
        (dict(bbox_head=dict(norm_cfg=None)), r'bbox_head\.cls_convs\.0\.conv\.bias: they'),
        (dict(bbox_head=dict(type='SSDHead')), 'model.bbox_head is no DSODHead'),
    ],
)
def test_a_model_of_another_kind_is_refused(parts, words):
    with torch.device('meta'):
        model = MODELS.build(small_config(**parts).model)
    with pytest.raises(InputError, match='^CONFIG: .*' + words):
        import_dsod(Path('any.caffemodel'), model, 'CONFIG')


def test_no_file(model):
    with pytest.raises(InputError, match=r'^no/such/file: no such file; check the path$'):
        import_dsod(Path('no/such/file'), model, 'CONFIG')


def test_the_tool_makes_a_checkpoint(net, model, tmp_path):
    file, out = net.write(tmp_path / 'small.caffemodel'), tmp_path / 'new/small.pth'
    config = small_config()
    classes = ('circle', 'square', 'star')
    dataset = dict(type='CocoDataset', metainfo=dict(classes=classes), pipeline=[])
    config.test_dataloader = dict(dataset=dataset)
    config.dump(tmp_path / 'config.py')
    command = [ROOT / 'tools/import_dsod.py', file, out, '--config', tmp_path / 'config.py']
    subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | {'OMP_NUM_THREADS': '1'}, check=True
    )
    made = checkpoint.load(out)
    expected = import_dsod(file, model, 'CONFIG')
    assert made['state_dict'].keys() == expected.keys() == model.state_dict().keys()
    for name, value in expected.items():
        assert torch.equal(made['state_dict'][name], value)
        assert value.dtype == model.state_dict()[name].dtype
    assert made['meta']['dataset_meta']['classes'] == classes
    # what tools/infer.py builds from the checkpoint alone
    rebuilt = MODELS.build(Config.fromstring(made['meta']['cfg'], '.py').model)
    rebuilt.load_state_dict(made['state_dict'])

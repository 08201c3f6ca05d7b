r"""Whatever is in a file, its reader returns or raises InputError, and neither hangs nor crashes.

``make test`` tries a few files of each kind. A campaign tries more, and writes what it tried:

    FUZZ_CASES=20000 FUZZ_RECORD=results/reliability/fuzz.json nice -n 19 python -m pytest \
        tests/test_fuzz.py --hypothesis-seed=0
"""

import copy
import io
import json
import os
import pickle
import signal
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer
from PIL import Image
from safetensors.torch import save as safetensors_bytes

from mmscratch.data import coco_check, coco_json, voc_xml
from mmscratch.data.exports import cache
from mmscratch.data.samplers import subset
from mmscratch.errors import InputError
from mmscratch.models.dsod import caffe_weights
from mmscratch.process import circumstances
from mmscratch.weights import checkpoint, checkpoint_config

CASES = int(os.environ.get('FUZZ_CASES', 15))
RECORD = os.environ.get('FUZZ_RECORD')
SECONDS = 120  # after which a reader hangs
TRIED: dict[str, Counter] = {}
# a campaign takes longer than a test may, and each case has its own limit
pytestmark = pytest.mark.timeout(0)

# values of a file that was written by somebody who means harm
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**62, -(2**63), 2**64, 10**15, 10**400])
    | st.floats()
    | st.text(st.characters(codec=None), max_size=8)
    | st.sampled_from(['\ud800', '\0', '..', '../../out', '/etc/passwd', 'a' * 5000, 'a/' * 300])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@st.composite
def spoiled(draw: Any, content: Any) -> Any:
    """The content with one to three of its values replaced or taken out."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        node = content
        while node:
            key = draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
                node = node[key]
                continue
            if draw(st.booleans()):
                node[key] = draw(VALUES)
            elif isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            else:
                del node[key]
            break
    return content


@st.composite
def hurt(draw: Any, data: bytes, inserted: tuple[bytes, ...] = ()) -> bytes:
    """The bytes with one to four of them changed, or a part inserted, repeated or taken out."""
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 12)))
        part = draw(
            st.binary(max_size=4)
            | st.sampled_from([b'', data[begin:end] * 3, *inserted])
            | st.sampled_from([b'9' * 400, b'9' * 5000, b'[' * 5000, b'\xff', b'\0'])
        )
        data = data[:begin] + part + data[end:]
    return data


def check(name: str, read: Callable[[], Any]) -> None:
    """Count a case; anything but InputError fails it."""
    counts = TRIED.setdefault(name, Counter(read=0, refused=0, other=0))
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(SECONDS)
    try:
        read()
        counts['read'] += 1
    except InputError:
        counts['refused'] += 1
    except BaseException:
        counts['other'] += 1
        raise
    finally:
        signal.alarm(0)


def _hangs(*_: Any) -> None:
    raise TimeoutError(f'no end after {SECONDS} s')


@pytest.fixture(autouse=True)
def _record(request):
    yield
    if RECORD:  # after each test, since a campaign may be stopped
        seed = request.config.getoption('hypothesis_seed')
        command = f'FUZZ_CASES={CASES} python -m pytest tests/test_fuzz.py --hypothesis-seed={seed}'
        content = dict(command=command, hardware=circumstances.cpu(), asked=CASES, readers=TRIED)
        Path(RECORD).write_text(json.dumps(content, indent=1) + '\n')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('fuzz')


def fuzz(**strategies: Any) -> Callable:
    limits = settings(
        max_examples=CASES,
        derandomize=not RECORD,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: limits(given(**strategies)(test))


COCO = {
    'images': [
        {'id': 1, 'file_name': 'a.png', 'width': 24, 'height': 16},
        {'id': 2, 'file_name': 'b/c.png', 'width': 24, 'height': 16},
    ],
    'annotations': [
        dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 9.5, 8], area=76.0, iscrowd=0)
        | {'segmentation': [[2, 3, 11, 3, 11, 11], [2, 3, 5, 3, 5, 9]]},
        dict(id=2, image_id=2, category_id=4, bbox=[0, 0, 24, 16], area=384, iscrowd=1)
        | {'segmentation': {'size': [16, 24], 'counts': [0, 384]}},
    ],
    'categories': [{'id': 3, 'name': 'disc', 'supercategory': 'x'}, {'id': 4, 'name': 'star'}],
}


def images(root: Path) -> None:
    (root / 'b').mkdir(parents=True, exist_ok=True)
    for name in ('a.png', 'b/c.png'):
        Image.fromarray(np.full((16, 24, 3), len(name), np.uint8)).save(root / name)


def read_export(root: Path) -> None:
    if export := cache.recognise(root):
        export.read()


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


@fuzz(content=spoiled(COCO).map(as_json) | hurt(as_json(COCO), (b'NaN', b'1e999')))
def test_coco(folder, content):
    root = folder / 'coco'
    if not root.exists():
        images(root)
    file = root / 'a.json'
    file.write_bytes(content)
    dataset = dict(data_root=str(root), ann_file='a.json', data_prefix=dict(img=''))
    check('COCO', lambda: coco_check.check(dataset).lines())
    coco_json.release(file)


XML = (
    b'<?xml version="1.0" encoding="utf-8"?><annotation><size><width>24</width><height>16</height>'
    b'</size><object><name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>'
    b'<xmax>9.5</xmax><ymax>8</ymax></bndbox></object></annotation>'
)
TAGS = (b'<object>', b'</object>', b'&lol;', b'<!DOCTYPE a [<!ENTITY lol "lol">]>', b'utf-16')
TAGS += (b'<xmin>inf</xmin>', b'<name/>', b'<!--', b'punycode', b'\xef\xbb\xbf', b'\xff\xfe')


@fuzz(content=hurt(XML, TAGS), names=hurt(b'a\nb\n', (b'../', b'/', b'a/' * 300)))
def test_voc(folder, content, names):
    xml, listed = folder / 'a.xml', folder / 'train.txt'
    xml.write_bytes(content)
    listed.write_bytes(names)

    def read() -> None:
        assert isinstance(voc_xml.read(xml), voc_xml.VocXml)
        voc_xml.find_files(folder, voc_xml.read_names(listed), ('.xml',))

    check('PASCAL VOC', read)


IDS = {'ids': [1, 'b', 30], 'sha256': subset.sha256_of_ids([1, 'b', 30])}


@fuzz(
    content=spoiled(IDS).map(as_json) | hurt(as_json(IDS)), suffix=st.sampled_from(['json', 'txt'])
)
def test_subset(folder, content, suffix):
    file = folder / f'ids.{suffix}'
    file.write_bytes(content)
    check('subset', lambda: subset.sha256_of_ids(subset.read_ids(str(file))))


CHECKPOINT = {
    'meta': {
        'epoch': 0,
        'iter': 4,
        'seed': 0,
        'cfg': "model = dict(type='ResNet', depth=18)",
        'dataset_meta': {'classes': ('disc', 'star'), 'palette': [(0, 0, 0)]},
        'preflight': {
            'init': 'random',
            'allowed': [],
            'annotations': [{'sha256': None}],
            'batch': {'gpus': 1, 'images_per_gpu': 2, 'accumulation': 1},
        },
    },
    'message_hub': {
        'log_scalars': {'loss': HistoryBuffer([1.0, 2.0], [1, 1])},
        'runtime_info': {'iter': 4, 'best_score': np.float64(1)},
        'resumed_keys': {'loss': True},
    },
    'state_dict': {'a.weight': torch.ones(2, 3), 'a.bias': torch.zeros(2)},
    'optimizer': {'state': {0: {'momentum_buffer': torch.ones(2)}}, 'param_groups': [{'lr': 0.1}]},
    'param_schedulers': [{'begin': 0, 'end': 5}],
}


def as_pth(content: Any) -> bytes:
    held = io.BytesIO()
    torch.save(content, held)
    return held.getvalue()


def with_pickle(pickled: bytes) -> bytes:
    """A .pth with another pickle in it, and with that one's checksum."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(PTH)) as old, zipfile.ZipFile(held, 'w') as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith('data.pkl')
            new.writestr(entry.filename, pickled if is_pickle else old.read(entry))
    return held.getvalue()


PTH = as_pth(CHECKPOINT)
[DATA_PKL] = [
    zipfile.ZipFile(io.BytesIO(PTH)).read(name)
    for name in zipfile.ZipFile(io.BytesIO(PTH)).namelist()
    if name.endswith('data.pkl')
]
PKL = pickle.dumps({'blobs': {'conv1_w': np.ones((2, 3), np.float32)}}, 4)
SAFE = safetensors_bytes(
    {'a.weight': torch.ones(2, 3)}, {'meta': '{"iter": 4, "dataset_meta": {"__tuple__": [1]}}'}
)
# opcodes, and calls of what a checkpoint may name
OPCODES = (b'\x85' * 300, b']' * 300, b'R', b'b', b'\x81', b'\x8b\xff\xff\xff\x7f', b'h\x00', b'2')
OPCODES += (b'cnumpy\ndtype\n', b'cbuiltins\nbytearray\n', b'J\xff\xff\xff\x7f', b'ctorch\nSize\n')
OPCODES += (b'ccollections\nOrderedDict\n)R', b'cnumpy._core.multiarray\n_reconstruct\n')


@fuzz(
    case=st.tuples(
        st.just('pth'),
        spoiled(CHECKPOINT).map(as_pth) | hurt(PTH) | hurt(DATA_PKL, OPCODES).map(with_pickle),
    )
    | st.tuples(st.just('pkl'), hurt(PKL, OPCODES))
    | st.tuples(st.just('safetensors'), hurt(SAFE))
)
def test_checkpoint(folder, case):
    suffix, content = case
    file = folder / f'a.{suffix}'
    file.write_bytes(content)

    def read() -> None:
        loaded = checkpoint.load(file)
        checkpoint.hash_of_tensors(loaded)
        if 'cfg' in loaded.get('meta', {}):
            checkpoint_config.read(loaded['meta']['cfg'], str(file))

    check('checkpoint', read)


CONFIG = (
    b"model = dict(type='ResNet', depth=18, a=[1, (2.5, None)], b={'c': -1})\nx = dict({'1': 2})\n"
)


@fuzz(content=hurt(CONFIG, (b'__import__("os")', b'dict(', b'-' * 3000, b'(' * 300, b'_base_ = 1')))
def test_config_in_a_checkpoint(content):
    text = content.decode('utf-8', 'surrogateescape')
    check('config', lambda: checkpoint_config.read(text, 'a.pth').pretty_text)


def caffe_bytes() -> bytes:
    net = caffe_weights._net_parameter()()
    for name in ('conv1', 'First_norm'):
        layer = net.layer.add(name=name, type='Convolution')
        blob = layer.blobs.add(data=[1.0] * 6)
        blob.shape.dim.extend([2, 3])
    return net.SerializeToString()


@fuzz(content=hurt(caffe_bytes(), (b'\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f', b'\x0b' * 200)))
def test_caffe(folder, content):
    file = folder / 'a.caffemodel'
    file.write_bytes(content)
    check('Caffe', lambda: list(map(str, caffe_weights.read_layers(file))))


YAML = b"path: .\ntrain: images\nval: images\nnames: {0: disc, 1: 'star'}\nkpt_shape: [2, 3]\n"
LABELS = b'0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.9 0.1 0.9 0.9\n'


@fuzz(
    described=hurt(YAML, (b'&a [*a]', b'&a', b'*a', b'!!python/object:os.system', b'2020-99-99')),
    labels=hurt(LABELS, (b'nan', b'1e999', b'1_0 ')),
)
def test_yolo(folder, described, labels):
    root = folder / 'yolo'
    if not root.exists():
        images(root / 'images')
    (root / 'labels').mkdir(exist_ok=True)
    (root / 'data.yaml').write_bytes(described)
    (root / 'labels/a.txt').write_bytes(labels)

    check('YOLO', lambda: read_export(root))


LABELME = {
    'shapes': [
        {'label': 'disc', 'points': [[1, 2], [9, 2], [9, 9.5]], 'shape_type': 'polygon'},
        {'label': 'star', 'points': [[1, 2], [9, 9]], 'shape_type': 'circle', 'group_id': 1},
        {'label': 'star', 'points': [[1, 2], [9, 9]], 'shape_type': 'mask', 'mask': 'iVBORw0KGgo='},
    ],
    'imagePath': 'a.png',
    'imageHeight': 16,
    'imageWidth': 24,
}


@fuzz(content=spoiled(LABELME).map(as_json) | hurt(as_json(LABELME), (b'1e999', b'1e300')))
def test_labelme(folder, content):
    root = folder / 'labelme'
    if not root.exists():
        images(root)
    (root / 'a.json').write_bytes(content)

    check('LabelMe', lambda: read_export(root))


@fuzz(content=spoiled(COCO).map(as_json) | hurt(as_json(COCO), (b'1e999',)))
def test_coco_of_another_tool(folder, content):
    root = folder / 'export'
    if not root.exists():
        images(root)
    (root / 'result.json').write_bytes(content)

    check('COCO of other tools', lambda: read_export(root))
    coco_json.release(root / 'result.json')


CVAT = (
    b'<annotations><meta><task><labels><label><name>disc</name></label></labels></task></meta>'
    b'<image id="0" name="a.png" width="24" height="16">'
    b'<box label="disc" xtl="1" ytl="2" xbr="9" ybr="8.5" rotation="30"/>'
    b'<polygon label="disc" points="1,2;9,2;9,9.5"/>'
    b'<ellipse label="disc" cx="9" cy="8" rx="4" ry="3"/>'
    b'<mask label="disc" rle="1,2,3" left="2" top="3" width="3" height="2"/>'
    b'</image></annotations>'
)
ATTRIBUTES = (b'99999999', b'1e999', b'nan', b'-1', b'../', b'a/' * 300, b'<!DOCTYPE a>', b'"')


@fuzz(content=hurt(CVAT, ATTRIBUTES))
def test_cvat(folder, content):
    root = folder / 'cvat'
    if not root.exists():
        images(root / 'images')
    (root / 'annotations.xml').write_bytes(content)

    check('CVAT', lambda: read_export(root))

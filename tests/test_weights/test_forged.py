"""Checkpoints that were made to take all memory, or to crash Python."""

import copy
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmscratch.errors import InputError
from mmscratch.weights import checkpoint, publish

from .conftest import refusal


def constant(value):
    """The opcodes of a value."""
    return pickle.dumps(value, 2)[2:-1]


def called(name, *arguments):
    """The opcodes of a call of a global; each argument is opcodes, or a value."""
    parts = [part if isinstance(part, bytes) else constant(part) for part in arguments]
    return b'c' + name.replace(' ', '\n').encode() + b'\n(' + b''.join(parts) + b'tR'


def tensor(numel, size, stride):
    """The opcodes of a tensor of a storage of so many numbers."""
    storage = b'(' + constant('storage') + b'ctorch\nFloatStorage\n'
    storage += constant('0') + constant('cpu') + constant(numel) + b'tQ'
    hooks = called('collections OrderedDict')
    return called('torch._utils _rebuild_tensor_v2', storage, 0, size, stride, False, hooks)


F8 = called('numpy dtype', 'f8', False, True)
KIND = b'cnumpy\nndarray\n'
ARRAY = 'numpy._core.multiarray _reconstruct'
DEEP = 'tuples are nested more than 100 deep'


def state_of(shape, dtype, data):
    return called(ARRAY, KIND, (0,), 'b') + (
        b'(K\x01' + constant(shape) + dtype + b'\x89' + data + b'tb'
    )


# what a key of the content holds, and what the refusal says
FORGED = {
    'tensor of 4 TiB by strides': (tensor(4, (2**40,), (0,)), 'has tensors of 4,398,046,511,104'),
    'tensor beyond its storage': (tensor(4, (2**40,), (1,)), 'is damaged'),
    'storage beyond its file': (tensor(10**9, (10**9,), (1,)), 'is damaged'),
    'negative storage': (tensor(-5, (1,), (1,)), 'is damaged'),
    'array of 8 TiB': (called(ARRAY, KIND, (2**40,), 'd'), '_reconstruct of another form'),
    'state of 8 TiB': (state_of((2**40,), F8, constant('abc')), 'is damaged'),
    'objects': (called('numpy dtype', 'O8', False, True), '(numpy.dtype of another form)'),
    'large type': (called('numpy dtype', 'V2147483647', False, True), 'numpy.dtype of another'),
    # numpy would take the numbers for addresses
    'flags': (F8 + constant((3, '<', None, None, None, -1, -1, 63)) + b'b', 'numpy.dtype of anot'),
    'bytearray of 1 TiB': (called('builtins bytearray', 2**40), 'bytearray of another form'),
    'the same by its old name': (called('__builtin__ bytearray', 2**40), 'builtins.bytearray of'),
    'legacy tensor of 8 TiB': (called('torch FloatTensor', 2**41), 'holds torch.FloatTensor,'),
    'sparse': (called('torch._utils _rebuild_sparse_tensor', 1), '_rebuild_sparse_tensor,'),
    # which would call the function that it is given
    'indirect call': (called('torch._tensor _rebuild_from_type_v2', 1), '_rebuild_from_type_v2,'),
    'codec': (called('_codecs encode', 'a', 'zip'), '_codecs.encode of another form'),
    'deep tuple': (b')' + b'\x85' * 200, DEEP),
    # to hash it would overflow the stack
    'deep tuple as a key': (b'})' + b'\x85' * 200_000 + b'Ns', DEEP),
    # twice two times two ...
    'tuple of tuples as a key': (b'})' + b'q\x7fh\x7f\x86' * 90 + b'Ns', DEEP),
    'deep list': (b']' * 200 + b'a' * 199, 'nests its content more than 100 deep'),
    'list of itself': (b']q\x7fh\x7fa', 'nests its content more than 100 deep'),
    # ten times ten times ...
    'lists of lists': (
        b'(]q\x7f' + (b'](' + b'h\x7f' * 10 + b'eq\x7f') * 30 + b't',
        'or repeats it',
    ),
    'hidden method': (
        called('collections OrderedDict') + constant({'items': 5}) + b'b',
        'replaces items of a dict',
    ),
    'no UTF-8': (b'X\x02\0\0\0\xff\xfe', 'is damaged'),
    'unknown memo': (b'h\x99', 'is damaged'),
    'unhashable key': (b'}]Ns', 'is damaged'),
}


def pickled(name):
    """The pickle of a forged content."""
    return b'\x80\x02}' + constant('a') + FORGED[name][0] + b's.'


def write_zip(path, content, mode='w', name='a/data.pkl'):
    with zipfile.ZipFile(path, mode) as archive:
        archive.writestr(name, content)
        archive.writestr('a/version', '3\n')
        archive.writestr('a/data/0', bytes(16))


@pytest.mark.parametrize('name', FORGED)
def test_a_forged_pickle(name, tmp_path):
    path = tmp_path / 'a.pth'
    write_zip(path, pickled(name))
    assert FORGED[name][1] in refusal(path)


def test_a_pickle_before_a_zip(tmp_path):
    """Which torch loads, and not the zip."""
    path = tmp_path / 'a.pth'
    parts = (torch.serialization.MAGIC_NUMBER, 1001, dict(little_endian=True))
    old = b''.join(pickle.dumps(part, 3) for part in parts)
    path.write_bytes(old + pickled('array of 8 TiB') + pickle.dumps([]))
    write_zip(path, pickle.dumps(dict(a=1), 2), 'a')
    assert zipfile.is_zipfile(path)
    assert 'is damaged' in refusal(path)


def test_a_pickle_under_a_name_that_torch_finds_too(tmp_path):
    path = tmp_path / 'a.pth'
    write_zip(path, pickled('array of 8 TiB'), name='a/DATA.PKL')
    assert '_reconstruct of another form' in refusal(path)


@pytest.mark.parametrize('is_long', [False, True])
def test_a_zip_of_two_directories(is_long, tmp_path):
    """Python would read the one before the end, torch the one that the end tells."""
    path, bad = tmp_path / 'a.pth', pickled('array of 8 TiB')
    write_zip(path, bad)
    first = path.read_bytes()
    # of one length, so that one end fits both
    write_zip(path, pickle.dumps('x' * (len(bad) - len(pickle.dumps('', 2))), 2))
    second = path.read_bytes()
    assert first[-22:] == second[-22:]
    end = struct.pack('<4sQHHLLQQ', b'PK\6\6', 44, 45, 45, 0, 0, 3, 3)
    end += struct.pack('<QQ', *struct.unpack('<LL', first[-10:-2]))
    locator = struct.pack('<4sLQL', b'PK\6\7', 0, len(first) - 22, 1)
    parts = [first[:-22], end, second[:-22], end, locator, second[-22:]]
    path.write_bytes(b''.join(parts if is_long else [parts[0], parts[2], parts[5]]))
    with zipfile.ZipFile(path) as archive:
        assert archive.read('a/data.pkl').startswith(b'\x80\x02X')
    assert 'is damaged' in refusal(path)


@pytest.mark.parametrize(
    'content',
    [
        b'\x80\x02Nr\xff\xff\xff\x7f.',  # the loader's memo would take 16 GiB
        b'\x80\x05\x96' + struct.pack('<Q', 2**40) + b'.',
        b'\x80\x04\x95' + struct.pack('<Q', 2**40) + b'N.',
        b'\x80\x04\x8e' + struct.pack('<Q', 2**40) + b'.',
        b'',
    ],
)
def test_a_forged_pickle_of_detectron(content, tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(content)
    assert 'is damaged' in refusal(path) or 'truncated' in refusal(path)


def test_a_compressed_zip_is_none_of_torchs(tmp_path):
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}' + constant('a') + tensor(2**20, (1,), (1,)))
        archive.writestr('a/data/0', bytes(2**22))
    assert 'is damaged' in refusal(path)


def test_a_zip_without_its_first_byte_is_damaged(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict={'a': torch.ones(2)}), path)
    path.write_bytes(path.read_bytes()[1:])
    assert 'is damaged' in refusal(path)


def test_a_file_of_old_torch_passes_the_gate_too(tmp_path):
    path = tmp_path / 'a.pth'
    old = dict(_use_new_zipfile_serialization=False)
    torch.save(dict(state_dict={'a': torch.ones(2)}), path, **old)
    assert checkpoint.load(path)['state_dict']['a'].tolist() == [1, 1]
    torch.save(dict(a=torch.zeros(1).expand(2**40)), path, **old)
    assert 'has tensors of 4,398,046,511,104 bytes' in refusal(path)


GOOD = dict(
    meta=dict(epoch=0, iter=4, seed=0, dataset_meta=dict(classes=('a',))),
    message_hub=dict(
        log_scalars={'loss': HistoryBuffer([1.0], [1])}, runtime_info={}, resumed_keys={}
    ),
    state_dict={'a': torch.ones(2), 'b._extra_state': None},
    optimizer=dict(state={0: {}}, param_groups=[{}]),
    param_schedulers=[{}],
)


def forged(tmp_path, change):
    content = copy.deepcopy(GOOD)
    change(content)
    torch.save(content, tmp_path / 'a.pth')
    return tmp_path / 'a.pth'


def of_hub(**values):
    return lambda content: content['message_hub']['log_scalars']['loss'].__dict__.update(values)


@pytest.mark.parametrize(
    ('entry', 'change'),
    [
        ('state_dict', lambda c: c.update(state_dict=[1])),
        ('state_dict', lambda c: c.update(state_dict={'a': 'text'})),
        ('state_dict', lambda c: c.update(state_dict={1: torch.ones(1)})),
        ('state_dict', lambda c: c.update(state_dict={'a': torch.ones(1, dtype=torch.cfloat)})),
        ('state_dict', lambda c: c.update(state_dict={'a': torch.ones(1).to(torch.float8_e5m2)})),
        ('meta.dataset_meta', lambda c: c['meta']['dataset_meta'].update(classes=5)),
        ('meta.CLASSES', lambda c: c['meta'].update(CLASSES=5)),
        ('meta.iter', lambda c: c['meta'].update(iter=10**15)),
        ('meta.seed', lambda c: c['meta'].update(seed=2**70)),
        ('meta.hook_msgs', lambda c: c['meta'].update(hook_msgs=5)),
        ('optimizer', lambda c: c.update(optimizer=[])),
        ('optimizer', lambda c: c['optimizer'].update(param_groups=5)),
        ('param_schedulers', lambda c: c.update(param_schedulers=[5])),
        ('message_hub', lambda c: c['message_hub'].update(resumed_keys=5)),
        ('message_hub.log_scalars', lambda c: c['message_hub'].update(log_scalars=5)),
        ('message_hub.log_scalars', of_hub(_log_history=5)),
        ('message_hub.log_scalars', of_hub(_count_history=np.ones(3))),
    ],
)
def test_an_entry_of_another_form(entry, change, tmp_path):
    checkpoint.load(forged(tmp_path, lambda content: None))
    assert f'its {entry} is not what a training run writes' in refusal(forged(tmp_path, change))


@pytest.mark.parametrize(
    'text',
    ['model = dict(', 'import os', 'a = ' + '-' * 100_000 + '1', 'a = ' + '[' * 10_000, 'a = "\0"']
    + ['a = 9**9**9', 'a = "\ud800"', '_base_ = "/etc/passwd"\nb = open(1)', 5],
)
def test_a_broken_config_in_a_checkpoint(text, tmp_path):
    path = forged(tmp_path, lambda content: content['meta'].update(cfg=text))
    loaded = checkpoint.load(path)
    with pytest.raises(InputError, match='its config is ') as caught:
        publish.released_config(loaded['meta']['cfg'], str(path))
    assert '\n' not in str(caught.value)

"""Files of safetensors: what is written is read again, and what is no such file is told."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmscratch.errors import InputError
from mmscratch.weights import checkpoint, safetensors_file

META = {
    'cfg': "model = dict(type='Some')\n# Ü\n",
    'dataset_meta': {
        'classes': ('a', 'b'),
        'palette': [(1, 2, 3), (4, 5, 6)],
        'links': {0: {'of': (1, 2)}, 1: {}},
        'nothing': [None, True, [], (), {}],
    },
    'lr': [0.1, 1e-30, float('inf')],
}


def test_meta_and_weights_come_back(tmp_path):
    weights = {
        'w': torch.randn(2, 3),
        'half': torch.ones(3, dtype=torch.half),
        'brain': torch.ones(3, dtype=torch.bfloat16),
        'count': torch.tensor(7),
        'flag': torch.tensor([True]),
        'none': torch.zeros(0, 4),
    }
    safetensors_file.save({'meta': META, 'state_dict': weights}, tmp_path / 'a.safetensors')
    loaded = checkpoint.load(tmp_path / 'a.safetensors')
    assert loaded.keys() == {'meta', 'state_dict'}
    assert repr(loaded['meta']) == repr(META)
    assert loaded['state_dict'].keys() == weights.keys()
    for name, value in weights.items():
        assert loaded['state_dict'][name].dtype == value.dtype
        assert torch.equal(loaded['state_dict'][name], value)


def test_memory_that_is_shared_or_not_in_order(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    weights = dict(whole=whole, same=whole, turned=whole.t(), part=whole[1:, ::2])
    weights['spread'] = whole[:1].expand(5, 4)
    file = tmp_path / 'a.safetensors'
    safetensors_file.save({'meta': {}, 'state_dict': weights}, file)
    for loaded in (checkpoint.load(file)['state_dict'], load_file(file)):
        assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_equal_contents_make_equal_files_that_others_may_read(tmp_path):
    contents = set()
    for k in range(5):
        file = tmp_path / f'{k}.safetensors'
        safetensors_file.save({'meta': META, 'state_dict': {'w': torch.ones(2)}}, file)
        contents.add(file.read_bytes())
    assert len(contents) == 1
    (tmp_path / 'other').touch()
    assert file.stat().st_mode == (tmp_path / 'other').stat().st_mode


def test_a_file_may_go_once_it_is_loaded(tmp_path):
    file = tmp_path / 'a.safetensors'
    save_file({'w': torch.ones(5000)}, file)
    loaded = checkpoint.load(file)
    file.write_bytes(b'')
    assert loaded['state_dict']['w'].sum() == 5000


def test_a_program_in_the_meta_is_dropped(tmp_path):
    content = {'meta': {'config': 'print()', 'iter': 1}, 'state_dict': {'w': torch.ones(1)}}
    safetensors_file.save(content, tmp_path / 'a.safetensors')
    assert checkpoint.load(tmp_path / 'a.safetensors')['meta'] == {'iter': 1}


@pytest.mark.parametrize(
    'metadata',
    [None, {'format': 'pt'}, {'meta': 'a text'}, {'meta': '[1]'}, {'meta': '[' * 100_000}]
    + [{'meta': text} for text in ('{"__dict__": [[[], 1]]}', '{"__tuple__": 1}', '"{}"')],
)
def test_files_of_others_are_weights_by_name(metadata, tmp_path):
    weights = {'conv1.weight': torch.ones(2), 'meta': torch.ones(3)}
    save_file(weights, tmp_path / 'timm.safetensors', metadata)
    loaded = checkpoint.load(tmp_path / 'timm.safetensors')
    assert loaded.keys() == {'state_dict'}
    assert loaded['state_dict'].keys() == weights.keys()


def with_header(header: object, data: bytes = bytes(8)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data


def tensor(**changes) -> dict:
    return {'w': dict(dtype='F32', shape=[2], data_offsets=[0, 8]) | changes}


def test_this_header_is_right(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(with_header(tensor()))
    assert checkpoint.load(tmp_path / 'a.safetensors')['state_dict']['w'].tolist() == [0, 0]


@pytest.mark.parametrize(
    'content',
    [
        b'abc',
        b'<html>404 Not Found</html>',
        b'version https://git-lfs.github.com/spec/v1\n',
        b'PK\x03\x04' + bytes(100),
        struct.pack('<Q', 2**63) + b'{}',
        struct.pack('<Q', 10**8 + 1) + b'{}',
        struct.pack('<Q', 1000) + b'{}',
        struct.pack('<Q', 4) + b'abcd',
        struct.pack('<Q', 4) + b'"\xff" ',
        with_header([1]),
        with_header(tensor())[:20],
        with_header(tensor())[:-1],
        with_header(tensor(), bytes(12)),
        with_header(tensor(dtype='F31')),
        with_header(tensor(dtype='F6_E2M3', shape=[32], data_offsets=[0, 24]), bytes(24)),
        with_header(tensor(shape=[3])),
        with_header(tensor(shape=[2**62, 8])),
        with_header(tensor(data_offsets=[8, 0])),
        with_header(tensor(data_offsets=[0, 2**60])),
    ],
)
def test_damaged_files_are_told_in_one_line(content, tmp_path):
    file = tmp_path / 'a.safetensors'
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        checkpoint.load(file)
    said = str(caught.value)
    assert said.startswith(f'{file}: is damaged, cut short or not a safetensors file (')
    assert '\n' not in said

"""The study's data sets, made from small sources of each kind."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from mmscratch.errors import InputError
from mmscratch.study.real import conversion, data

ROOT = Path(__file__).resolve().parents[2]


def save(file: Path, content: bytes | str | np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        content = cv2.imencode(file.suffix, content)[1].tobytes()
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture
def convert(tmp_path, monkeypatch):
    """Convert a source whose annotations pass; return them by split, and the folder."""

    def make(name: str, source: Path) -> tuple[dict[str, dict], Path]:
        monkeypatch.setattr(data, 'checksum', lambda root: data.SOURCES[name].sha256)
        out = tmp_path / 'made' / name
        conversion.convert(name, source, out)
        assert [path.name for path in out.parent.iterdir()] == [name]
        files = {s: out / f'annotations/instances_{s}.json' for s in ('train', 'val')}
        return {split: json.loads(file.read_text()) for split, file in files.items()}, out

    return make


@pytest.fixture
def boards(tmp_path):
    """Two boards to train on, not in the order of their names, and one to validate."""
    folder = tmp_path / 'boards/PCBData'
    lists = dict(trainval=('20', '10'), test=('30',))
    for file, names in lists.items():
        rows = [f'g{name}/{name}/{name}.jpg g{name}/{name}_not/{name}.txt\n' for name in names]
        save(folder / f'{file}.txt', ''.join(rows))
        for name in names:
            # mean of 2 x 2 pixels: 100
            tested = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (16, 8))
            save(folder / f'g{name}/{name}/{name}_test.png', tested)
            image = folder / f'g{name}/{name}/{name}_test.png'
            image.rename(image.with_suffix('.jpg'))  # a lossless one
            save(folder / f'g{name}/{name}/{name}_temp.jpg', np.zeros((32, 16), np.uint8))
            save(folder / f'g{name}/{name}_not/{name}.txt', f'1 2 8 7 3\n0 0 4 {name} 6\n')
    return tmp_path / 'boards'


def test_boards(boards, convert):
    contents, out = convert('deeppcb', boards)
    assert [row['file_name'] for row in contents['train']['images']] == ['20.jpg', '10.jpg']
    assert len(contents['train']['annotations']) == 4
    assert (out / 'annotations/instances_val.json').read_text() == (
        '{"info":{"description":"DeepPCB, tested images","version":"1.0",'
        '"url":"https://github.com/tangsanli5201/DeepPCB"},'
        '"licenses":[{"id":1,"name":"MIT","url":"https://opensource.org/license/mit"}],'
        '"images":[{"id":1,"file_name":"30.jpg","width":8,"height":16,"license":1}],'
        '"annotations":[{"id":1,"image_id":1,"category_id":3,"bbox":[0.5,1.0,3.5,2.5],'
        '"area":8.75,"iscrowd":0},{"id":2,"image_id":1,"category_id":6,'
        '"bbox":[0.0,0.0,2.0,15.0],"area":30.0,"iscrowd":0}],'
        '"categories":[{"id":1,"name":"open","supercategory":"defect"},'
        '{"id":2,"name":"short","supercategory":"defect"},'
        '{"id":3,"name":"mousebite","supercategory":"defect"},'
        '{"id":4,"name":"spur","supercategory":"defect"},'
        '{"id":5,"name":"copper","supercategory":"defect"},'
        '{"id":6,"name":"pin-hole","supercategory":"defect"}]}\n'
    )
    assert (out / 'val/30.jpg').read_bytes() == jpeg(np.full((16, 8), 100, np.uint8), 80)


def test_smears(tmp_path, convert):
    source = tmp_path / 'smears'
    for name in 'abcde':
        save(source / f'BCCD/JPEGImages/{name}.jpg', f'the bytes of {name}')
        corners = {'WBC': (1, 2, 5, 9), 'RBC': (4, 4, 4, 4), 'Platelets': (3, 3, 6, 7)}
        objects = [
            f'<object><name>{kind}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
            f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
            for kind, (x1, y1, x2, y2) in corners.items()
        ]
        size = '<size><width>64</width><height>48</height></size>'
        xml = f'<annotation>{size}{"".join(objects)}</annotation>'
        save(source / f'BCCD/Annotations/{name}.xml', xml)
    contents, out = convert('bccd', source)
    # random.Random(0) puts d last
    assert [row['file_name'][0] for row in contents['train']['images']] == ['a', 'b', 'c', 'e']
    assert contents['val']['images'] == [
        dict(id=1, file_name='d.jpg', width=64, height=48, license=1)
    ]
    assert contents['val']['annotations'] == [
        dict(id=1, image_id=1, category_id=2, bbox=[0, 1, 4, 7], area=28, iscrowd=0),
        dict(id=2, image_id=1, category_id=3, bbox=[2, 2, 3, 4], area=12, iscrowd=0),
    ]
    assert (out / 'val/d.jpg').read_bytes() == b'the bytes of d'


def test_nuclei(tmp_path, convert):
    source = tmp_path / 'nuclei'
    for name in 'abcdef':
        folder = source / 'stage1_train' / name
        # d, to validate, is too large; f has too many nuclei
        shape = (4, 1024) if name == 'd' else (4, 6)
        save(folder / f'images/{name}.png', np.full((*shape, 4), (40, 60, 80, 255), np.uint8))
        for number in range(101 if name == 'f' else 2):
            mask = np.zeros(shape, np.uint8)
            mask[2:, 2 + number : 5] = 255
            save(folder / f'masks/{number}.png', mask)
    contents, out = convert('nuclei_dsb2018', source)
    assert [row['file_name'][0] for row in contents['train']['images']] == ['a', 'b', 'c', 'e']
    assert contents['val']['images'] == [
        dict(id=1, file_name='d.jpg', width=512, height=2, license=1)
    ]
    first, second = contents['val']['annotations']
    # halved, columns 2 to 4 become 1 and a half of 2; a half counts
    assert (first['bbox'], first['area']) == ([1, 1, 2, 1], 2)
    assert (second['bbox'], second['area']) == ([1, 1, 2, 1], 2)
    small = contents['train']['annotations'][1]
    expected = np.zeros((4, 6), np.uint8)
    expected[2:, 3:5] = 1
    assert rle.decode(small.pop('segmentation')).tolist() == expected.tolist()
    assert small == dict(id=2, image_id=1, category_id=1, bbox=[3, 2, 2, 2], area=4, iscrowd=0)
    for file, shape in (('train/a.jpg', (4, 6, 3)), ('val/d.jpg', (2, 512, 3))):
        pixels = np.full(shape, (40, 60, 80), np.uint8)
        assert (out / file).read_bytes() == jpeg(pixels, 95)


def test_other_annotations_leave_nothing(boards, tmp_path):
    out = tmp_path / 'made/deeppcb'
    with pytest.raises(InputError, match=r'boards: gives other annot.* git checkout 08e98c4db'):
        conversion.convert('deeppcb', boards, out)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize('name', data.SOURCES)
def test_another_folder_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=f'not a whole clone of {data.SOURCES[name].url} '):
        conversion.convert(name, tmp_path, tmp_path / 'made')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('file', 'content', 'told'),
    [
        ('g30/30/30_test.jpg', b'', '30_test.jpg is no image'),
        ('g30/30/30_test.jpg', b'no image', '30_test.jpg is no image'),
        ('g30/30_not/30.txt', b'1 2 3\n', 'not enough values'),
        ('g30/30_not/30.txt', None, 'No such file .*30.txt'),
    ],
)
def test_broken_source(file, content, told, boards, tmp_path):
    path = boards / 'PCBData' / file
    path.unlink() if content is None else path.write_bytes(content)
    out = tmp_path / 'made/deeppcb'
    with pytest.raises(InputError, match=f'boards: not a whole clone .*{told}'):
        conversion.convert('deeppcb', boards, out)
    assert not list(out.parent.iterdir())


def test_tool_leaves_an_existing_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / 'data/real/bccd').mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['real.py', 'bccd', 'nowhere'])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(str(ROOT / 'tools/data/real.py'), run_name='__main__')
    line = 'error: data/real/bccd: exists; remove it to make it anew\n'
    assert capsys.readouterr().err == line

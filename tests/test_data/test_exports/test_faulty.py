"""The check of an export, some of whose images or labels cannot be read."""

import json
from pathlib import Path

import pytest

from mmscratch.data import layouts
from mmscratch.errors import InputError
from mmscratch.visualization.folder_check import page
from mmscratch.visualization.folder_check.folder_check import FolderCheck

CONFIG = Path('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
FAULTS = {
    # labels that are left out, images that are told, and objects that are left
    'yolo': ({'label': {'train': 1}, 'broken': {'val': 1}}, [4, 2]),
    'yolo_flat': ({'label': {'': 1}, 'broken': {}}, None),
    'labelme': ({'label': {'train': 1}, 'missing': {'val': 1}}, [2, 2]),
    'roboflow': ({'missing': {'val': 1}}, [4, 2]),
}


@pytest.mark.parametrize('name', FAULTS)
def test_an_export_with_faulty_files_is_shown(make_export, tmp_path, name):
    """Each would end training in a line; a check is there to show the others, too."""
    root = make_export(name)
    image = next(root.rglob('5_turned.jpg'))
    if name.startswith('yolo'):
        image.write_bytes(image.read_bytes()[:200])
        label = next(root.rglob('3_größe.txt'))
        label.write_text('0 0.3 0.3 0.1\n' + label.read_text())
    else:
        image.unlink()
    if name == 'labelme':
        next(root.rglob('3_größe.json')).write_text('{"shapes": [')
    check = FolderCheck(root, CONFIG)
    told = {kind: dict(finding.counts) for kind, finding in check.findings.items()}
    expected, objects = FAULTS[name]
    for kind, counts in expected.items():
        assert told[kind] == counts or (not counts and sum(told[kind].values()) == 1)
    if objects:
        assert [len(each.annotations) for each in check.splits] == objects
    assert '5_turned.jpg' in check.refusal or '3_größe' in check.refusal
    page.write(check, tmp_path / 'page.html')
    text = (tmp_path / 'page.html').read_text()
    assert '5_turned.jpg' in text
    assert name == 'roboflow' or '3_größe' in text
    lines = list(check.fix(tmp_path / 'fixed'))
    assert lines[-1] == 'the copy passes the check that training begins with'
    # nothing is left that a training would take
    with pytest.raises(InputError):
        layouts.find(root)


def repeat_an_id(content):
    content['annotations'].append(dict(content['annotations'][0], bbox=[1, 1, 9, 9]))


def spoil_rows(content):
    content['images'] += [dict(id=[1], width=9), dict(content['images'][0], id=70)]
    content['annotations'] += [dict(id=71, image_id=99), dict(id=72, image_id=[1], category_id={})]
    content['categories'].append(dict(id='5'))


@pytest.mark.parametrize('name', ['roboflow', 'one_json'])
@pytest.mark.parametrize(
    ('spoil', 'kinds'), [(repeat_an_id, {'id'}), (spoil_rows, {'entry', 'listed twice'})]
)
def test_faulty_rows_of_coco_are_shown(make_export, tmp_path, name, spoil, kinds):
    """Each would end training in a line."""
    root = make_export(name)
    for file in [*root.rglob('_annotations.coco.json'), *root.glob('labels.json')]:
        content = json.loads(file.read_text())
        spoil(content)
        file.write_text(json.dumps(content))
    with pytest.raises(InputError):
        layouts.find(root)
    check = FolderCheck(root, CONFIG)
    assert kinds <= check.findings.keys()
    assert check.refusal
    assert sum(len(each.images) for each in check.splits) == 6
    *_, last = check.fix(tmp_path / 'fixed')
    assert last == 'the copy passes the check that training begins with'

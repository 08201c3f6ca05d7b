"""CVAT's own XML."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from mmscratch.data import coco_json, layouts, repoint
from mmscratch.data.exports import cache
from mmscratch.errors import InputError

RECT = '<box label="disc" xtl="4" ytl="5" xbr="24" ybr="35"'


@pytest.fixture
def load(make_export):
    """Return a function that replaces a box of the first image, and reads the export."""

    def read(shape: str, old: str = RECT):
        root = make_export('cvat_xml', folder=f'data {len(shape)}')
        file = root / 'annotations.xml'
        text = file.read_text()
        start = text.index('<box')
        end = text.index('</box>') + len('</box>')
        file.write_text(text[:start] + shape + text[end:])
        found = repoint.annotation_path(layouts.find(root)['train'])
        content = coco_json.load(found)
        notes = '\n'.join(cache.source_of(found).notes)
        return [row for row in content['annotations'] if row['image_id'] == 1], notes

    return read


def test_a_turned_box_is_a_polygon(load):
    """By 90 degrees about its centre, clockwise: the first corner comes to the upper right."""
    (row,), _ = load('<box label="disc" xtl="4" ytl="10" xbr="24" ybr="20" rotation="90.0"></box>')
    assert row['segmentation'] == [[19, 5, 19, 25, 9, 25, 9, 5]]
    assert (row['bbox'], row['area']) == ([9, 5, 10, 20], 200)


def test_an_ellipse(load):
    (row,), _ = load('<ellipse label="star" cx="20" cy="15" rx="10" ry="5"></ellipse>')
    assert row['bbox'] == [10, 10, 20, 10]
    assert row['area'] == pytest.approx(np.pi * 50, rel=0.01)


def test_a_mask(load):
    """Runs within the part of the image from left and top on, row by row."""
    (row,), _ = load(
        '<mask label="star" rle="1, 3, 1, 1" left="7" top="9" width="3" height="2"></mask>'
    )
    decoded = mask_utils.decode(row['segmentation'])
    assert decoded.shape == (40, 48)
    assert decoded[9:11, 7:10].tolist() == [[0, 1, 1], [1, 0, 1]]
    assert (decoded.sum(), row['area']) == (4, 4)
    assert row['bbox'] == [7, 9, 3, 2]


def test_other_shapes_are_counted(load):
    rows, notes = load('<polyline label="star" points="1,2;3,4"></polyline>')
    assert rows == []
    assert 'shapes that are no objects are left out: 1 polyline, 6 tag' in notes


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ('<polygon label="disc" points="1,2;x,4;5,6"/>', r"image '1\.jpg' has a shape .*'x'"),
        ('<box label="disc" xtl="1"/>', r"image '1\.jpg' has a shape that cannot be read"),
        ('<mask label="disc" rle="9" left="0" top="0" width="3" height="2"/>', 'runs of 9 pixels'),
        (
            f'<mask label="disc" rle="{f"{2**62}," * 4}6" left="0" top="0" width="3" height="2"/>',
            f'runs of {2**64 + 6} pixels for 3 x 2',
        ),
        (
            f'<mask label="disc" rle="{10**30}" left="0" top="0" width="3" height="2"/>',
            'shape that',
        ),
        ('<box', r'annotations\.xml: cannot be read \(not well-formed'),
    ],
)
def test_faults(load, shape, message):
    with pytest.raises(InputError, match=message) as error:
        load(shape)
    assert '\n' not in str(error.value)


def test_entities_are_refused(make_export):
    """A DTD could make a text of any length from a few bytes."""
    root = make_export('cvat_xml')
    file = root / 'annotations.xml'
    bomb = '<!DOCTYPE a [<!ENTITY b "12345678"><!ENTITY c "&b;&b;&b;&b;">]>'
    file.write_text(file.read_text().replace('?>', f'?>{bomb}', 1))
    with pytest.raises(InputError, match='it declares an <!ENTITY, which may grow'):
        layouts.find(root)


def test_a_video_and_missing_images(make_export):
    root = make_export('cvat_xml')
    (root / 'images/Train/1.jpg').unlink()
    with pytest.raises(InputError, match=r"its image '1\.jpg' is not in .*/images; export with"):
        layouts.find(root)
    file = root / 'annotations.xml'
    file.write_text('<annotations><version>1.1</version><track id="0"></track></annotations>')
    with pytest.raises(InputError, match=r'no image, but tracks of a video; export "CVAT for im'):
        layouts.find(root)

"""Objects marked "difficult" are trained on."""

import cv2
import numpy as np
from mmdet.datasets import VOCDataset

from mmscratch.data.voc_with_difficult_dataset import VocWithDifficultDataset

OBJECT = (
    '<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x}</xmin>'
    '<ymin>1</ymin><xmax>{x}0</xmax><ymax>9</ymax></bndbox></object>'
)


def test_difficult_objects_are_objects(tmp_path):
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Main/trainval.txt').write_text('000001\n')
    cv2.imwrite(str(root / 'JPEGImages/000001.jpg'), np.zeros((40, 40, 3), np.uint8))
    objects = ''.join(
        OBJECT.format(name=name, difficult=difficult, x=x)
        for name, difficult, x in (('cat', 0, 1), ('dog', 1, 2), ('cat', 1, 3))
    )
    size = '<size><width>40</width><height>40</height></size>'
    (root / 'Annotations/000001.xml').write_text(f'<annotation>{size}{objects}</annotation>')

    def read(kind: type) -> list[dict]:
        dataset = kind(
            data_root=str(tmp_path),
            ann_file='VOC2007/ImageSets/Main/trainval.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            pipeline=[],
        )
        return dataset.get_data_info(0)['instances']

    theirs, ours = read(VOCDataset), read(VocWithDifficultDataset)
    assert [instance['ignore_flag'] for instance in theirs] == [0, 1, 1]
    assert [instance.pop('ignore_flag') for instance in ours] == [0, 0, 0]
    for instance in theirs:
        del instance['ignore_flag']
    assert ours == theirs

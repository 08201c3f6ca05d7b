"""The same small data set as each labelling tool exports it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ['disc', 'star']
TURNED = 6  # EXIF: shown turned by a right angle


@dataclass(frozen=True)
class Drawn:
    """An image of the data set.

    ``objects`` have a class and the corners of an outline in pixels, of a box that is parallel to
    the axes if there are 4.
    """

    name: str
    split: str
    width: int
    height: int
    objects: list[tuple[str, list[tuple[int, int]]]]


def box(x: int, y: int, width: int, height: int) -> list[tuple[int, int]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


DATA = [
    Drawn('1.jpg', 'train', 48, 40, [('disc', box(4, 5, 20, 30))]),
    Drawn('2 mit Leerzeichen.jpg', 'train', 40, 48, [('star', box(1, 2, 30, 20))]),
    Drawn(
        '3_größe.jpg', 'train', 64, 32, [('disc', box(10, 2, 9, 9)), ('star', box(40, 3, 12, 8))]
    ),
    Drawn('4_leer.jpg', 'train', 32, 32, []),
    Drawn('5_turned.jpg', 'val', 60, 40, [('star', box(50, 4, 8, 30))]),
    Drawn(
        'unter/6.jpg', 'val', 50, 50, [('disc', box(5, 6, 20, 10)), ('disc', box(30, 6, 10, 40))]
    ),
]


def with_polygons() -> list[Drawn]:
    """The data set with triangles in place of boxes."""
    return [
        Drawn(
            d.name, d.split, d.width, d.height, [(name, points[:3]) for name, points in d.objects]
        )
        for d in DATA
    ]


def draw(image: Drawn, file: Path) -> None:
    """Write noise of the image's own, turned if its name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(os.path.basename(image.name)[0]))
    blocks = rng.integers(0, 256, (8, 8, 3), np.uint8)
    pixels = Image.fromarray(blocks).resize((image.width, image.height))
    if 'turned' in image.name:
        exif = Image.Exif()
        exif[0x0112] = TURNED
        pixels.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)
    else:
        pixels.save(file)


def coco(data: list[Drawn], prefix: str = '', first: int = 0) -> dict:
    """A COCO JSON with ids from `first` on."""
    images, annotations = [], []
    for number, image in enumerate(data, first):
        images.append(
            dict(id=number, file_name=prefix + image.name, width=image.width, height=image.height)
        )
        for name, points in image.objects:
            low, high = np.min(points, 0), np.max(points, 0)
            extent = (high - low).tolist()
            is_box = len(points) == 4
            annotations.append(
                dict(
                    id=first + len(annotations),
                    image_id=number,
                    category_id=CLASSES.index(name) + first,
                    bbox=[*low.tolist(), *extent],
                    area=extent[0] * extent[1] / (1 if is_box else 2),
                    iscrowd=0,
                    segmentation=[] if is_box else [np.ravel(points).tolist()],
                )
            )
    categories = [dict(id=n, name=name) for n, name in enumerate(CLASSES, first)]
    return dict(images=images, annotations=annotations, categories=categories)


def write_json(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')


def of(data: list[Drawn], split: str) -> list[Drawn]:
    return [image for image in data if image.split == split]


def roboflow(root: Path, data: list[Drawn]) -> None:
    """Its first category has id 0, no objects, and is the supercategory of the others."""
    for split, folder in (('train', 'train'), ('val', 'valid')):
        part = of(data, split)
        content = coco(part)
        for row in content['categories']:
            row.update(id=row['id'] + 1, supercategory='shapes')
        for row in content['annotations']:
            row['category_id'] += 1
        content['categories'].insert(0, dict(id=0, name='shapes', supercategory='none'))
        content['info'] = dict(description='Exported from roboflow.com')
        write_json(root / folder / '_annotations.coco.json', content)
        for image in part:
            draw(image, root / folder / image.name)


def cvat(root: Path, data: list[Drawn]) -> None:
    """A project with subsets; each object has attributes."""
    for split, subset in (('train', 'Train'), ('val', 'Validation')):
        part = of(data, split)
        content = coco(part, first=1)
        for row in content['annotations']:
            row['attributes'] = dict(occluded=False, rotation=0.0)
        write_json(root / f'annotations/instances_{subset}.json', content)
        for image in part:
            draw(image, root / 'images' / subset / image.name)


def cvat_xml(root: Path, data: list[Drawn]) -> None:
    """CVAT for images 1.1, of a project with subsets."""
    names = ''.join(f'<label><name>{n}</name><type>any</type></label>' for n in CLASSES)
    lines = [
        f'<annotations><version>1.1</version><meta><project><labels>{names}'
        '<label><name>blurred</name><type>tag</type></label></labels></project></meta>'
    ]
    for number, image in enumerate(data):
        subset = {'train': 'Train', 'val': 'Validation'}[image.split]
        draw(image, root / 'images' / subset / image.name)
        lines.append(
            f'<image id="{number}" name="{image.name}" subset="{subset}" width="{image.width}" '
            f'height="{image.height}"><tag label="blurred" source="manual"></tag>'
        )
        for name, points in image.objects:
            if len(points) == 4:
                corners = 'xtl="{}.00" ytl="{}.00" xbr="{}.00" ybr="{}.00"'
                shape = 'box ' + corners.format(*points[0], *points[2])
            else:
                pairs = ';'.join(f'{x}.00,{y}.00' for x, y in points)
                shape = f'polygon points="{pairs}"'
            kind = shape.split()[0]
            lines.append(
                f'<{shape} label="{name}" source="manual" occluded="0" z_order="0">'
                f'<attribute name="side">left</attribute></{kind}>'
            )
        lines.append('</image>')
    text = '\n'.join(['<?xml version="1.0" encoding="utf-8"?>', *lines, '</annotations>'])
    (root / 'annotations.xml').write_text(text, encoding='utf-8')


def yolo_label(image: Drawn) -> str:
    lines = []
    for name, points in image.objects:
        shares = np.array(points) / (image.width, image.height)
        if len(points) == 4:
            low, high = shares.min(0), shares.max(0)
            shares = np.concatenate([(low + high) / 2, high - low])
        numbers = ' '.join(f'{x:.6f}' for x in shares.ravel())
        lines.append(f'{CLASSES.index(name)} {numbers}\n')
    return ''.join(lines)


def yolo_files(images: Path, labels: Path, data: list[Drawn]) -> None:
    for image in data:
        draw(image, images / image.name)
        label = (labels / image.name).with_suffix('.txt')
        label.parent.mkdir(parents=True, exist_ok=True)
        if image.objects:
            label.write_text(yolo_label(image))


def yolo(root: Path, data: list[Drawn]) -> None:
    """As Ultralytics writes it: images/SPLIT, labels/SPLIT, names by number."""
    for split in ('train', 'val'):
        yolo_files(root / f'images/{split}', root / f'labels/{split}', of(data, split))
    names = ''.join(f'  {n}: {name}\n' for n, name in enumerate(CLASSES))
    (root / 'data.yaml').write_text(
        f'path: /somewhere/else\ntrain: images/train\nval: images/val\ntest:\nnames:\n{names}'
    )


def yolo_roboflow(root: Path, data: list[Drawn]) -> None:
    """As Roboflow writes it: SPLIT/images, paths that begin with .., names as a list."""
    for split, folder in (('train', 'train'), ('val', 'valid')):
        yolo_files(root / folder / 'images', root / folder / 'labels', of(data, split))
    (root / 'data.yaml').write_text(
        'train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n'
        f'nc: {len(CLASSES)}\nnames: {CLASSES}\n'
    )


def yolo_lists(root: Path, data: list[Drawn]) -> None:
    """As CVAT writes it: lists of images."""
    yolo_files(root / 'images', root / 'labels', data)
    for split in ('train', 'val'):
        lines = [f'images/{image.name}\n' for image in of(data, split)]
        (root / f'{split}.txt').write_text(''.join(lines), encoding='utf-8')
    (root / 'data.yaml').write_text(
        f'path: .\ntrain: train.txt\nval: val.txt\nnames: {dict(enumerate(CLASSES))}\n'
    )


def yolo_bare(root: Path, data: list[Drawn]) -> None:
    """As Label Studio writes it, with folders for the splits: classes.txt in place of a YAML."""
    for split, folder in (('train', 'train'), ('val', 'valid')):
        yolo_files(root / 'images' / folder, root / 'labels' / folder, of(data, split))
    (root / 'classes.txt').write_text('\n'.join(CLASSES))
    (root / 'notes.json').write_text('{"categories": [], "info": {}}')


def yolo_labelimg(root: Path, data: list[Drawn]) -> None:
    """Labels beside images, and classes.txt."""
    for split in ('train', 'val'):
        folder = root / split
        yolo_files(folder, folder, of(data, split))
        (folder / 'classes.txt').write_text('disc\nstar\n')


def yolo_darknet(root: Path, data: list[Drawn]) -> None:
    """CVAT's "YOLO 1.1"."""
    lines = 'classes = 2\nnames = data/obj.names\nbackup = backup/\n'
    for split, subset in (('train', 'train'), ('val', 'valid')):
        folder = root / f'obj_{subset}_data'
        yolo_files(folder, folder, of(data, split))
        names = [f'data/{folder.name}/{image.name}\n' for image in of(data, split)]
        (root / f'{subset}.txt').write_text(''.join(names), encoding='utf-8')
        lines += f'{subset} = data/{subset}.txt\n'
    (root / 'obj.data').write_text(lines)
    (root / 'obj.names').write_text('disc\nstar\n')


def labelme_json(image: Drawn, file: Path) -> None:
    shapes = [
        dict(
            label=name,
            points=[points[2], points[0]] if len(points) == 4 else points,
            group_id=None,
            shape_type='rectangle' if len(points) == 4 else 'polygon',
            flags={},
        )
        for name, points in image.objects
    ]
    write_json(
        file,
        dict(version='5.5.0', flags={}, shapes=shapes, imagePath=os.path.basename(image.name))
        | dict(imageData=None, imageHeight=image.height, imageWidth=image.width),
    )


def labelme(root: Path, data: list[Drawn]) -> None:
    for image in data:
        file = root / image.split / image.name
        draw(image, file)
        labelme_json(image, file.with_suffix('.json'))


SPLIT = {
    write.__name__: write
    for write in (
        roboflow,
        cvat,
        cvat_xml,
        yolo,
        yolo_roboflow,
        yolo_lists,
        yolo_bare,
        yolo_labelimg,
        yolo_darknet,
        labelme,
    )
}


def label_studio(root: Path, data: list[Drawn]) -> None:
    """On Windows, with the path in its own store; all images in one folder."""
    flat = [Drawn(os.path.basename(d.name), *list(vars(d).values())[1:]) for d in data]
    write_json(root / 'result.json', coco(flat, '..\\..\\label-studio\\media\\upload\\4\\'))
    for image in flat:
        draw(image, root / 'images' / image.name)


def cvat_task(root: Path, data: list[Drawn]) -> None:
    write_json(root / 'annotations/instances_default.json', coco(data, first=1))
    for image in data:
        draw(image, root / 'images/default' / image.name)


def one_json(root: Path, data: list[Drawn]) -> None:
    write_json(root / 'labels.json', coco(data, first=7))
    for image in data:
        draw(image, root / 'my images' / image.name)


def yolo_flat(root: Path, data: list[Drawn]) -> None:
    yolo_files(root / 'images', root / 'labels', data)
    (root / 'labels/classes.txt').write_text('disc\nstar\n')


def yolo_labelimg_flat(root: Path, data: list[Drawn]) -> None:
    yolo_files(root, root, data)
    (root / 'classes.txt').write_text('disc\nstar\n')


def labelme_flat(root: Path, data: list[Drawn]) -> None:
    for image in data:
        draw(image, root / image.name)
        labelme_json(image, (root / image.name).with_suffix('.json'))


WHOLE = {
    write.__name__: write
    for write in (label_studio, cvat_task, one_json, yolo_flat, yolo_labelimg_flat, labelme_flat)
}


@pytest.fixture
def make_export(tmp_path) -> Callable[..., Path]:
    """Writes the data set in the form of a tool."""

    def make(name: str, data: list[Drawn] = DATA, folder: str = 'my data') -> Path:
        root = tmp_path / folder
        root.mkdir()
        (SPLIT | WHOLE)[name](root, data)
        return root

    return make

"""The splits of a folder as they are, whatever is wrong with them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmscratch.data import coco_json, repoint, voc_xml
from mmscratch.data.coco_json import Rows
from mmscratch.data.image_check import IMAGE_SUFFIXES
from mmscratch.data.pixels import Pixels
from mmscratch.visualization.folder_check.finding import Findings


@dataclass
class Split:
    """The images and objects of a split, in the terms of COCO.

    ``pixels`` has what each image file holds, by its name in the annotations. ``images``,
    ``annotations`` and ``categories`` are raw until :mod:`repair` has made them sound.
    """

    name: str
    file: Path
    image_dir: Path
    images: Rows
    annotations: Rows
    categories: Rows
    pixels: dict[str, Pixels] = field(default_factory=dict)

    def path(self, image: Mapping[str, Any]) -> Path:
        """The file of an image."""
        return self.image_dir / image['file_name']

    @property
    def classes(self) -> list[str]:
        """The names of the categories."""
        return [row['name'] for row in self.categories]

    def objects(self) -> dict[int, Rows]:
        """The annotations of each image, by its id; images without any are there, too."""
        found: dict[int, Rows] = {row['id']: [] for row in self.images}
        for row in self.annotations:
            found[row['image_id']].append(row)
        return found


def read(reads: Mapping[str, Mapping[str, Any]], findings: Findings) -> list[Split]:
    """The splits of a folder.

    Args:
        reads: what the data sets read, by split, as a layout's ``find`` gives it.
        findings: gets what cannot be read.

    Raises:
        InputError: an annotation file is not there, or is no JSON with COCO's sections.
    """
    splits = []
    for name, data in reads.items():
        file = repoint.annotation_path(data)
        if file.suffix != '.json':
            splits.append(_read_voc(name, data, file, findings))
            continue
        content, _ = coco_json.parse(file)
        rows = (content[key] for key in ('images', 'annotations', 'categories'))
        splits.append(Split(name, file, repoint.image_dir(data), *rows))
    return splits


def _read_voc(name: str, data: Mapping[str, Any], file: Path, findings: Findings) -> Split:
    image_dir = repoint.image_dir(data)
    names = voc_xml.read_names(file)
    found = voc_xml.find_files(image_dir, names, IMAGE_SUFFIXES)
    files = voc_xml.find_files(image_dir.with_name('Annotations'), names, ('.xml',))
    split = Split(name, file, image_dir, [], [], [])
    numbers: dict[str, int] = {}
    for image_id, key in enumerate(names, 1):
        path = found.get(key)
        image = str(path.relative_to(split.image_dir)) if path else key
        if key not in files:
            findings.add('xml', name, f'{key}.xml, which is missing')
            continue
        xml = voc_xml.read(files[key])
        for fault in filter(None, [xml.unreadable, *xml.faults]):
            findings.add('xml', name, f'{key}.xml: {fault}')
        if xml.unreadable:
            continue
        width, height = xml.size or (None, None)
        split.images.append(dict(id=image_id, file_name=image, width=width, height=height))
        for item in xml.objects:
            category = numbers.setdefault(item.name, len(numbers) + 1)
            split.annotations.append(
                dict(
                    id=len(split.annotations) + 1,
                    image_id=image_id,
                    category_id=category,
                    **_box(item),
                    iscrowd=int(item.difficult),
                )
            )
    split.categories = [dict(id=number, name=label) for label, number in sorted(numbers.items())]
    return split


def _box(item: voc_xml.VocObject) -> dict[str, Any]:
    # shares of the image are not pixels that count from 1
    x1, y1, x2, y2 = item.corners if item.is_normalised else item.box
    return dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=abs((x2 - x1) * (y2 - y1)))


def unlisted(splits: Sequence[Split]) -> Iterator[str]:
    """Image files beside those of the splits that have no annotation."""
    listed = {split.path(row) for split in splits for row in split.images}
    for folder in sorted({path.parent for path in listed}):
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in listed:
                yield str(path)

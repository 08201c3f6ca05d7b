"""A data set of the tiles of large images."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from pycocotools import mask as mask_utils

from mmscratch.data import coco_json, layouts, repoint
from mmscratch.data.coco_json import CocoJson, Rows
from mmscratch.data.image_check import look_at
from mmscratch.data.late_masks import Cut, LateMasks
from mmscratch.data.mask_table import whole_polygons
from mmscratch.data.transforms.load_image_from_file import read
from mmscratch.data.transforms.tile_views import Box, check_tiles, tiles
from mmscratch.errors import InputError
from mmscratch.process import whole_file
from mmscratch.process.progress_bar import ProgressBar

_OF_PNG = ('uint8', 'uint16')


def convert(
    root: Path,
    out: Path,
    size: int,
    overlap: float = 0.2,
    least_visible: float = 0.3,
    drop_bad_boxes: bool = False,
) -> dict[str, tuple[int, int]]:
    """Cut the images of a folder; ``out`` is a folder in COCO layout, of tiles.

    Boxes and masks end at a tile's border. An object of which a tile shows a smaller share than
    ``least_visible`` is a crowd there: not trained on, and not counted. Keypoints are left out.
    Tiles without an object are written for validation alone; training would drop them.

    Args:
        root: the folder.
        out: the folder to write, new or empty. Tiles are PNG files, or ``.npy`` of a sensor.
        size: side of a tile in pixels.
        overlap: as in :func:`tiles`.
        least_visible: share of the mask's pixels, or of the box's area.
        drop_bad_boxes: leave out boxes without area or outside of their image.

    Returns:
        Of each split the number of images and of tiles.

    Raises:
        InputError: for options out of range; for faults of the data; if ``out`` has files.
    """
    check_tiles(size, overlap)
    if not 0 <= least_visible <= 1:
        raise InputError(f'--least-visible {least_visible:g}: give a share from 0 to 1')
    if out.exists() and any(out.iterdir()):
        raise InputError(f'{out}: has files already; name a new folder')
    found = layouts.find_coco(root)
    # checked as before training; a loader with channels takes images of any kind
    load = dict(type='LoadImageFromFile', channels=[1])
    loaders = {
        f'{split}_dataloader': dict(dataset=dict(reads, type='CocoDataset', pipeline=[load]))
        for split, reads in found.items()
    }
    layouts.check(Config(dict(loaders, drop_bad_boxes=drop_bad_boxes)))
    counts = {}
    with whole_file.folder(out) as unfinished:
        for split, reads in found.items():
            content = coco_json.load(repoint.annotation_path(reads))
            folder = repoint.image_dir(reads)
            images, annotations = _cut_split(
                content,
                folder,
                unfinished / split,
                (size, overlap),
                least_visible,
                split == 'train',
            )
            record = dict(
                info=dict(tiles=dict(size=size, overlap=overlap, least_visible=least_visible))
                | dict(source_sha256=content.sha256),
                images=images,
                annotations=annotations,
                categories=[dict(id=row['id'], name=row['name']) for row in content['categories']],
            )
            file = unfinished / 'annotations' / f'instances_{split}.json'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(record) + '\n')
            counts[split] = len(content['images']), len(images)
            coco_json.release(content.file)
    return counts


def _cut_split(
    content: CocoJson,
    source: Path,
    target: Path,
    size_and_overlap: tuple[int, float],
    least_visible: float,
    with_objects: bool,
) -> tuple[Rows, Rows]:
    """Write the tiles of a split; return their entries, and those of their objects."""
    objects: dict[Any, Rows] = {}
    for row in content['annotations']:
        objects.setdefault(row['image_id'], []).append(row)
    images: Rows = []
    annotations: Rows = []
    names: set[Path] = set()
    for row in ProgressBar(content['images'], f'{target.name} images', len(content['images'])):
        own = objects.get(row['id'], [])
        image, suffix = _load(source / row['file_name'])
        save = cv2.imwrite if suffix == '.png' else np.save
        height, width = row['height'], row['width']
        if image is None or image.shape[:2] != (height, width):
            found = 'cannot be read' if image is None else f'has {image.shape[1::-1]} pixels'
            raise InputError(
                f'{source / row["file_name"]}: {found}, and {content.file} says {(width, height)}; '
                'correct one of them'
            )
        # images of an export may lie outside of its folder
        parts = Path(row['file_name']).with_suffix('').parts
        stem = Path(*(part for part in parts if part != '..'))
        while stem in names:
            stem = stem.with_name(f'{stem.name}_{row["id"]}')
        names.add(stem)
        cuts = [_cut(each, height, width) for each in own]
        for tile in tiles(width, height, *size_and_overlap):
            seen = [
                part
                for each, cut in zip(own, cuts)
                if (part := _part(each, cut, tile, least_visible))
            ]
            if with_objects and all(part['iscrowd'] or part.get('ignore') for part in seen):
                continue
            x, y, w, h = tile
            name = stem.with_name(f'{stem.name}_{x}_{y}{suffix}')
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            save(str(target / name), image[y : y + h, x : x + w])
            number = len(images) + 1
            images.append(dict(id=number, file_name=name.as_posix(), width=w, height=h))
            for part in seen:
                annotations.append(dict(part, id=len(annotations) + 1, image_id=number))
    return images, annotations


def _load(file: Path) -> tuple[np.ndarray | None, str]:
    """The image as it was stored, and the suffix of its tiles.

    PNG is for what OpenCV loads, with blue first and alpha last; all else is read as a sensor's
    channels, in the order of the file, and stays an array.
    """
    facts, content = look_at(file), file.read_bytes()
    if facts.not_for_opencv or facts.dtype not in _OF_PNG:
        return read(file, content), '.npy'
    if facts.channels == 4:
        return read(file, content)[..., [2, 1, 0, 3]], '.png'
    # keeps 16 bits and a single channel, and turns as EXIF says, as training does
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags), '.png'


def _cut(annotation: dict[str, Any], height: int, width: int) -> Cut | None:
    """The mask's pixels, and where they lie; None without a mask."""
    segmentation = annotation.get('segmentation')
    if isinstance(segmentation, list):
        segmentation = whole_polygons(segmentation)
    if not segmentation:
        return None
    return LateMasks.from_segmentations([segmentation], height, width).cuts[0]


def _part(
    annotation: dict[str, Any], cut: Cut | None, tile: Box, least_visible: float
) -> dict[str, Any] | None:
    """What a tile shows of an object, in pixels of the tile; None if that is nothing."""
    left, top, width, height = tile
    x, y, w, h = annotation['bbox']
    x1, y1 = max(x - left, 0), max(y - top, 0)
    x2, y2 = min(x + w - left, width), min(y + h - top, height)
    if x2 <= x1 or y2 <= y1:
        return None
    box = [x1, y1, x2 - x1, y2 - y1]
    share = box[2] * box[3] / (w * h)
    part = dict(category_id=annotation['category_id'], bbox=box, iscrowd=annotation['iscrowd'])
    if 'ignore' in annotation:
        part['ignore'] = annotation['ignore']
    if cut is None and annotation.get('segmentation'):
        part['segmentation'] = annotation['segmentation']  # not 3 points: no mask of a tile either
    elif cut is not None:
        mask = np.zeros((height, width), np.uint8, order='F')
        _paste(mask, cut, left, top)
        share = mask.sum() / max(cut.pixels.sum(), 1)
        if not share:
            return None
        rle = mask_utils.encode(mask)
        if share < 1:
            part['bbox'] = mask_utils.toBbox(rle).tolist()
        part['segmentation'] = dict(rle, counts=rle['counts'].decode())
    if share < least_visible:
        part['iscrowd'] = 1
    return dict(part, area=float(annotation['area'] * share))


def _paste(mask: np.ndarray, cut: Cut, left: int, top: int) -> None:
    """Write the cut into a mask whose corner is at (left, top) of the image."""
    height, width = mask.shape
    h, w = cut.pixels.shape
    x1, y1 = max(cut.x - left, 0), max(cut.y - top, 0)
    x2, y2 = min(cut.x + w - left, width), min(cut.y + h - top, height)
    if x2 > x1 and y2 > y1:
        dx, dy = left - cut.x, top - cut.y
        mask[y1:y2, x1:x2] = cut.pixels[y1 + dy : y2 + dy, x1 + dx : x2 + dx]

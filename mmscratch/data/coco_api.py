"""Gives parsed annotation files to MMDetection's data sets and metrics."""

import functools
import os
from collections.abc import Collection, Iterable

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import coco_metric

from mmscratch.data import coco_json
from mmscratch.errors import InputError


class CocoApi(COCO):
    """MMDetection's ``COCO``, of a file that :mod:`mmscratch.data.coco_json` parses once a process.

    Args:
        annotation_file: A JSON. MMDetection parses a file that fails our check.
        awaited: Real paths of files that are read again later; others are freed.
    """

    def __init__(self, annotation_file: str, awaited: Collection[str] = ()) -> None:
        try:
            content = coco_json.load(annotation_file)
        except InputError:
            content = None
        super().__init__(None if content else annotation_file)
        if annotation_file and content:
            self.dataset = content
            self.createIndex()
            # CocoDataset keeps these lists of image ids. The numbers of the annotations would each
            # keep the block of memory that they were parsed into: 2.4 GB in all for COCO.
            same = {image_id: image_id for image_id in self.imgs}
            for ids in self.catToImgs.values():
                ids[:] = [same[image_id] for image_id in ids]
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs
            if os.path.realpath(annotation_file) not in awaited:
                coco_json.release(annotation_file)


def install(awaited: Iterable[str]) -> None:
    """Put :class:`CocoApi` in the place of ``COCO``.

    Args:
        awaited: Files that a metric reads. It is built after the data set of the same file.
    """
    real = frozenset(map(os.path.realpath, awaited))
    CocoDataset.COCOAPI = functools.partial(CocoApi, awaited=real)
    coco_metric.COCO = CocoApi

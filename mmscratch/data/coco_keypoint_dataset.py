"""COCO's persons with their keypoints, or another data set in that format."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.logging import print_log

from mmscratch.errors import InputError

# COCO's keypoints are indices of pixels. Boxes are continuous: the pixel of index 0 reaches from 0
# to 1. A keypoint of the file lies in the middle of its pixel (as detectron2 has it too:
# detectron2/data/datasets/coco.py and detectron2/evaluation/coco_evaluation.py at 02b5c4e2).
PIXEL_CENTRE = 0.5
_MOST_PIXELS = 10**9


def flip_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Indices of the keypoints that a mirror swaps: ``left_X`` and ``right_X``, COCO's own way."""
    index = {name: number for number, name in enumerate(names)}
    pairs = ((name, name.replace('left', 'right', 1)) for name in names if name.startswith('left'))
    return [(index[left], index[right]) for left, right in pairs if right in index]


_PARTS = ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
_NAMES = ('nose', *(f'{side}_{part}' for part in _PARTS for side in ('left', 'right')))


@DATASETS.register_module()
class CocoKeypointDataset(CocoDataset):
    """``CocoDataset`` whose instances carry the file's ``keypoints``.

    ``instance['keypoints']`` is COCO's flat list ``[x, y, v, ...]`` of K keypoints: x and y are
    indices of pixels, v is 0 (not labelled), 1 (labelled, hidden) or 2 (labelled, seen). An
    annotation without the key has K keypoints of v = 0. ``data_info['keypoint_order']`` is, for
    each of the K, the number of the one that is in its place in a mirror image.

    With ``filter_cfg=dict(filter_empty_gt=True)`` training images without any labelled keypoint are
    left out (Detectron: ``filter_for_training`` in detectron/datasets/roidb.py at 04155a01); their
    number is logged. Persons without keypoints on the images that stay do train the box head.

    ``metainfo`` may change, besides ``classes`` and ``palette``:

    - ``keypoint_names``: K names
    - ``flip_pairs``: the pairs of keypoints that a mirror swaps, as numbers from 0
    - ``keypoint_sigmas``: K numbers, the standard deviation of each keypoint's annotations as a
      fraction of the square root of the object's area, by which OKS judges distances

    Raises :class:`InputError` if these do not fit together, if an annotation has another number
    of keypoints, or if no object has a labelled one.

    Example:
        >>> train_dataloader = dict(dataset=dict(
        ...     type='CocoKeypointDataset',
        ...     metainfo=dict(keypoint_names=('left end', 'right end'), flip_pairs=((0, 1),),
        ...                   keypoint_sigmas=(0.05, 0.05))))
    """

    METAINFO = {
        'classes': ('person',),
        'palette': CocoDataset.METAINFO['palette'],  # its first colour is the person's
        'keypoint_names': _NAMES,
        'flip_pairs': flip_pairs(_NAMES),
        # cocoeval.py of pycocotools (setKpParams)
        'keypoint_sigmas': (
            0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
            0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
        ),
    }  # fmt: skip

    @functools.cached_property
    def _mirrored(self) -> list[int]:
        return mirrored_order(self.metainfo)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image; each kept instance gets its ``keypoints``."""
        image = raw_data_info['raw_img_info']
        data_info = super().parse_data_info(dict(raw_img_info=image, raw_ann_info=[]))
        for annotation in raw_data_info['raw_ann_info']:
            # one at a time: CocoDataset leaves some out and does not say which
            alone = dict(raw_img_info=image, raw_ann_info=[annotation])
            for instance in super().parse_data_info(alone)['instances']:
                instance['keypoints'] = self._keypoints(annotation)
                data_info['instances'].append(instance)
        return data_info

    def _keypoints(self, annotation: Mapping[str, Any]) -> list[float]:
        length = 3 * len(self._mirrored)
        keypoints = annotation.get('keypoints') or [0] * length
        if (
            not isinstance(keypoints, list)
            or not set(map(type, keypoints)) <= {int, float}
            or max(map(abs, keypoints)) > _MOST_PIXELS
        ):
            raise InputError(
                f'{self.ann_file}: annotation {annotation["id"]} has keypoints that are no pixels: '
                'write the numbers x, y, v of each'
            )
        if len(keypoints) != length:
            raise InputError(
                f'{self.ann_file}: annotation {annotation["id"]} has {len(keypoints)} numbers in '
                f'keypoints, not {length} for x, y, v of {length // 3} keypoints: correct it, or '
                f"name the data's keypoints in metainfo.keypoint_names"
            )
        return keypoints

    def filter_data(self) -> list[dict]:
        """Leave out what ``filter_cfg`` says, and images without a labelled keypoint."""
        kept = super().filter_data()
        drops = not self.test_mode and (self.filter_cfg or {}).get('filter_empty_gt', False)
        if not (drops or self.test_mode):
            return kept
        with_keypoints = [info for info in kept if any(map(_has_keypoints, info['instances']))]
        if not with_keypoints:
            raise InputError(
                f'{self.ann_file}: no image has an object with a labelled keypoint; give '
                f'annotations with keypoints, or train a detector without a keypoint head'
            )
        if not drops:
            return kept
        print_log(
            f'{self.ann_file}: {len(with_keypoints)} of {len(self.data_list)} images have '
            f'keypoints and train',
            logger='current',
        )
        return with_keypoints

    def get_data_info(self, idx: int) -> dict:
        """The image's data, with ``keypoint_order``."""
        return {**super().get_data_info(idx), 'keypoint_order': self._mirrored}


def mirrored_order(meta: Mapping[str, Any]) -> list[int]:
    """Number of the keypoint that stands for each one in a mirror image.

    Raises :class:`InputError` if pairs or sigmas do not fit the names.
    """
    count, pairs, sigmas = len(meta['keypoint_names']), meta['flip_pairs'], meta['keypoint_sigmas']
    if len(sigmas) != count:
        raise InputError(
            f'metainfo: {count} keypoint_names but {len(sigmas)} keypoint_sigmas; give as many'
        )
    order = list(range(count))
    for pair in pairs:
        if len(pair) != 2 or any(k not in range(count) or order[k] != k for k in pair):
            raise InputError(
                f'metainfo: flip_pairs has {tuple(pair)}; give pairs of numbers from 0 to '
                f'{count - 1}, each number once'
            )
        order[pair[0]], order[pair[1]] = pair[1], pair[0]
    return order


def _has_keypoints(instance: Mapping[str, Any]) -> bool:
    return not instance['ignore_flag'] and any(v > 0 for v in instance['keypoints'][2::3])

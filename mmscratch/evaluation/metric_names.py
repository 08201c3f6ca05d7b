"""How logs and pages name the numbers of validations; publish.METAFILE says how releases do."""

import re

# the first of them that a validation yields is the one that decides which is best
QUALITIES = ('keypoints_mAP', 'bbox_mAP', 'segm_mAP', 'voc_mAP', 'accuracy')
KINDS = {'bbox': 'box', 'segm': 'mask', 'keypoints': 'keypoint', 'voc': 'VOC'}


def short(name: str) -> str:
    """The name in ``metrics.json`` of an evaluator's number.

    ``coco/bbox_mAP`` is ``bbox_mAP`` there, and ``pascal_voc/mAP`` is ``voc_mAP``.
    """
    return re.sub('^(coco|classifier)/', '', name).replace('pascal_voc/', 'voc_')


def title(key: str) -> str:
    """The name of a number: ``bbox_mAP_50`` is ``box AP50``."""
    kind, _, rest = key.partition('_')
    if kind not in KINDS:
        return key
    rest = rest if kind == 'voc' else rest.replace('mAP_5', 'AP5').replace('mAP_7', 'AP7')
    return f'{KINDS[kind]} {rest if kind == "voc" else rest.replace("mAP", "AP")}'

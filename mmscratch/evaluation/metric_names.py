"""How pages name the numbers of ``metrics.json``."""

# the first of them that a validation yields is the one that decides which is best
QUALITIES = ('keypoints_mAP', 'bbox_mAP', 'segm_mAP', 'voc_mAP', 'accuracy')
KINDS = {'bbox': 'box', 'segm': 'mask', 'keypoints': 'keypoint', 'voc': 'VOC'}


def title(key: str) -> str:
    """The name of a number: ``bbox_mAP_50`` is ``box AP50``."""
    kind, _, rest = key.partition('_')
    if kind not in KINDS:
        return key
    rest = rest if kind == 'voc' else rest.replace('mAP_5', 'AP5').replace('mAP_7', 'AP7')
    return f'{KINDS[kind]} {rest if kind == "voc" else rest.replace("mAP", "AP")}'

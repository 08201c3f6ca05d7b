"""The number of detections of an image that the model keeps and COCO's metrics count."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from mmscratch.config.sections import as_list, type_name, walk, walk_paths
from mmscratch.errors import InputError

# Detections of a class in an image that COCO's metrics count for boxes and masks, in AR@N; AP takes
# the last number. For keypoints COCOeval has one of its own.
PROPOSAL_NUMS = (1, 10, 100)
KEYPOINT_DETECTIONS = 20

# Sections of a model's config for other stages than the final detections.
_OTHER_STAGES = frozenset({'rpn', 'rpn_head', 'rpn_proposal', 'train_cfg'})
_KEPT = ('max_per_img', 'max_per_image')
# Keys of test_cfg: the candidates that the detections are chosen from.
_CANDIDATES = ('nms_pre', 'topk', 'top_k', 'corner_topk')
# Keys of detectors whose weights fix the number of detections.
_QUERIES = ('num_queries', 'num_query', 'num_proposals')


def set_max_detections(cfg: Config | ConfigDict, number: int) -> None:
    """Let the model keep ``number`` detections an image, and COCO's metrics count them.

    Every ``max_per_img`` of the final stage becomes ``number``. ``proposal_nums`` of our metrics
    becomes (1, 10, ``number``). An RPN's proposals and the candidates before NMS are raised to
    ``number`` where they are fewer. VOC's metric counts all.

    Args:
        cfg: changed in place.
        number: 11 or more.

    Raises:
        InputError: the number is too small, the model has no such limit or fewer queries, or
            the evaluator is MMDetection's own CocoMetric.
    """
    option = f'--max-detections {number}'
    if number <= 10:
        raise InputError(f"{option}: give 11 or more, since COCO's AR@10 counts 10 already")
    models = [cfg.model, cfg.get('tta_model') or {}]
    stages = list(_final_stages(models))
    if not stages:
        raise InputError(
            f'{option}: model.test_cfg of the config has no max_per_img; leave the option out'
        )
    for node in walk(models):
        for key in _QUERIES:
            if isinstance(node.get(key), int) and node[key] < number:
                raise InputError(
                    f'{option}: the model finds {node[key]} objects an image at '
                    f'most ({key}); give {node[key]}, or train it with more'
                )
    for stage in stages:
        stage.update({key: number for key in _KEPT if key in stage})
    proposals = [node['rpn'] for node in walk(models) if isinstance(node.get('rpn'), dict)]
    for stage in [*stages, *proposals]:
        for key in (*_CANDIDATES, *_KEPT):
            if 0 < (stage.get(key) or 0) < number:
                stage[key] = number
    for metric in as_list(cfg.get('val_evaluator')) + as_list(cfg.get('test_evaluator')):
        if type_name(metric) == 'CocoMetric':
            raise InputError(
                f"{option}: AP of MMDetection's CocoMetric is that of 100 detections; use "
                f"type='FullCocoMetric' (custom_imports: mmscratch.register_all)"
            )
        if type_name(metric) in ('FullCocoMetric', 'CocoKeypointMetric'):
            metric['proposal_nums'] = [1, 10, number]


def limits(cfg: Config, split: str) -> tuple[int | None, int | None]:
    """How many detections of an image the model keeps, and of a class COCO's metric counts.

    Args:
        cfg: of a detector.
        split: 'val' or 'test', whose metric it is.

    Returns:
        Each is None if there is no such limit.
    """
    kept = (
        stage[key] for stage in _final_stages(cfg.get('model')) for key in _KEPT if key in stage
    )
    metrics = as_list(cfg.get(f'{split}_evaluator'))
    counted = (limit for metric in metrics for limit in _counted(metric))
    return min(kept, default=None), min(counted, default=None)


def box_limit(cfg: Config, split: str) -> int:
    """How many boxes of a class in an image COCO's metrics count for AP; 100 if none says."""
    counted = (next(_counted(each), None) for each in as_list(cfg.get(f'{split}_evaluator')))
    return min((limit for limit in counted if limit), default=PROPOSAL_NUMS[-1])


def _final_stages(node: Any) -> Iterator[dict]:
    """The dicts with a max_per_img, without those of an RPN."""
    for path, section in walk_paths(node):
        # -1 stands for all
        limits = any(isinstance(section.get(key), int) and section[key] > 0 for key in _KEPT)
        if limits and _OTHER_STAGES.isdisjoint(path.split('.')):
            yield section


def _counted(metric: dict) -> Iterator[int]:
    """How many detections of a class in an image COCO's metrics count."""
    name, numbers = type_name(metric), metric.get('proposal_nums')
    if name == 'CocoMetric':
        yield PROPOSAL_NUMS[-1]  # its own proposal_nums concern recall only
    elif name in ('FullCocoMetric', 'CocoKeypointMetric'):
        yield (numbers or PROPOSAL_NUMS)[-1]
        has_keypoints = 'keypoints' in metric.get('metric', 'keypoints')
        if name == 'CocoKeypointMetric' and has_keypoints and not numbers:
            yield KEYPOINT_DETECTIONS

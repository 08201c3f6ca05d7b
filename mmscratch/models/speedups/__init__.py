"""Parts of MMDetection's training step in which a GPU waits for Python, in faster forms.

``PARTS`` names them. Importing ``mmscratch.models`` puts all of them in place; no config changes.
On a CPU each gives the same bits as MMDetection's own code, or is that code. On a GPU values are
equal to rounding, and the RPN's random samples come from the GPU's generator.
results/speed/README.md tells what each was measured to do.
"""

from collections.abc import Iterable
from typing import Any

from mmdet.models import DetDataPreprocessor, RPNHead, SingleRoIExtractor
from mmdet.models.task_modules import MaxIoUAssigner
from mmengine.registry import MODELS, OPTIMIZERS, Registry

from mmscratch.models.speedups.group_norm import GroupNorm
from mmscratch.models.speedups.late_masks import (
    MASK_TARGET,
    mask_target_single,
    pad_gt_masks,
)
from mmscratch.models.speedups.max_iou_assigner import assign_wrt_overlaps
from mmscratch.models.speedups.roi_levels import extract
from mmscratch.models.speedups.rpn_loss import loss_by_feat
from mmscratch.models.speedups.sgd import SGD

# name -> (class, module or registry; attribute or registered name; what takes its place)
PARTS: dict[str, list[tuple[Any, str, Any]]] = {
    'assigner': [(MaxIoUAssigner, 'assign_wrt_overlaps', assign_wrt_overlaps)],
    'RPN loss': [(RPNHead, 'loss_by_feat', loss_by_feat)],
    'RoI levels': [(SingleRoIExtractor, 'forward', extract)],
    'masks': [
        (DetDataPreprocessor, 'pad_gt_masks', pad_gt_masks),
        (MASK_TARGET, 'mask_target_single', mask_target_single),
    ],
    # gives maps in bfloat16, to whose format MMDetection rounds RoIs: needs 'RoI levels'
    'GroupNorm': [(MODELS, 'GN', GroupNorm)],
    'SGD': [(OPTIMIZERS, 'SGD', SGD)],
}


def in_place(owner: Any, name: str) -> Any:
    """What a class or module has under this name, or what is registered under it."""
    return owner.module_dict[name] if isinstance(owner, Registry) else getattr(owner, name)


_ORIGINALS = {
    (owner, name): in_place(owner, name) for part in PARTS.values() for owner, name, _ in part
}
for (_owner, _name), _original in _ORIGINALS.items():
    # dumped configs may name torch's own class by its path, which is taken if it is registered
    if isinstance(_owner, Registry):
        _owner.register_module(f'torch.{_name}', module=_original)


def use(parts: Iterable[str]) -> None:
    """Put the faster forms of these parts in place, and the original forms of the others.

    Norm layers and optimizers that are built already stay as they are.
    """
    for part, replacements in PARTS.items():
        for owner, name, faster in replacements:
            chosen = faster if part in parts else _ORIGINALS[owner, name]
            if isinstance(owner, Registry):
                owner.register_module(name, force=True, module=chosen)
            else:
                setattr(owner, name, chosen)

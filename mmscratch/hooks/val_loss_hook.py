"""Compute the loss on the validation images."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmscratch.config.sections import type_name, walk
from mmscratch.errors import InputError
from mmscratch.loops.runner_state import bare_model


@HOOKS.register_module()
class ValLossHook(Hook):
    """Add the losses on the validation images to the metrics of each validation.

    ``val_loss`` and its parts, such as ``val_loss_cls``, are logged, drawn in ``curves.png`` and
    written to ``metrics.json``. If the validation loss rises while the training loss falls, the
    detector overfits. If both fall, it needs more iterations.

    The images have their size of validation. The model is in evaluation mode, so BN's statistics do
    not change. Every validation samples proposals with the same random numbers. The time is not
    counted as training. The pipeline of ``val_dataloader`` must load all that the model learns.

    Example:
        >>> default_hooks = dict(val_loss=dict(type='ValLossHook'))
    """

    # before RuntimeInfoHook, which logs the metrics
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._loader: DataLoader | None = None

    def before_train(self, runner: Runner) -> None:
        """Build the data loader.

        Raises:
            InputError: the validation pipeline does not load boxes or masks that training loads.
        """
        cfg = runner.cfg
        missing = annotations(cfg.train_dataloader) - annotations(cfg.val_dataloader)
        if missing:
            raise InputError(
                f'{cfg.filename}: default_hooks.val_loss: the pipeline of val_dataloader does not '
                f'load all that is trained on: add {" and ".join(sorted(missing))} to its '
                'LoadAnnotations, or remove the hook'
            )
        self._loader = Runner.build_dataloader(with_annotations_first(cfg.val_dataloader))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the mean losses over all images to ``metrics``, the same on all ranks."""
        if self._loader is not None and metrics is not None:
            metrics.update(losses(bare_model(runner), self._loader))


def annotations(dataloader: Mapping[str, Any]) -> set[str]:
    """Find what the loader's pipelines load: ``with_bbox=True``, ``with_mask=True``."""
    steps = [node for node in walk(dataloader) if type_name(node).endswith('Annotations')]
    defaults = {'with_bbox': True, 'with_mask': False}
    return {
        f'{name}=True'
        for name, default in defaults.items()
        if any(step.get(name, default) for step in steps)
    }


def with_annotations_first(dataloader: Mapping[str, Any]) -> dict[str, Any]:
    """Change a validation loader so that boxes and masks are resized with their image.

    MMDetection's validation pipelines load the annotations after the image is resized, since
    evaluation needs them as they are in the file.
    """
    changed = copy.deepcopy(dict(dataloader))
    # persistent workers would stay beside those of training and of validation
    changed['persistent_workers'] = False
    for node in walk(changed['dataset']):
        if 'pipeline' in node:
            node['pipeline'].sort(key=lambda step: not type_name(step).startswith('Load'))
    return changed


@torch.no_grad()
def losses(model: nn.Module, loader: DataLoader) -> dict[str, float]:
    """Return the mean of ``val_loss`` and of its parts over the images of all ranks.

    ``model`` has no wrapper. It is in evaluation mode, as MMEngine's validation leaves it.
    """
    preprocessor = model.data_preprocessor
    augments = getattr(preprocessor, 'batch_augments', None)
    preprocessor.batch_augments = None
    sums: dict[str, Tensor] = {}
    images = 0
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(get_rank())
        for batch in loader:
            # training=True also pads the masks
            data = preprocessor(batch, training=True)
            count = len(batch['inputs'])
            total, parts = model.parse_losses(model(**data, mode='loss'))
            for name, value in {**parts, 'loss': total}.items():
                if 'loss' in name:
                    sums[f'val_{name}'] = sums.get(f'val_{name}', 0) + value * count
            images += count
    preprocessor.batch_augments = augments
    values = torch.stack([*sums.values(), total.new_tensor(images)])
    all_reduce(values)
    return dict(zip(sums, (values[:-1] / values[-1]).tolist()))

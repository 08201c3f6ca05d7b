"""The loss on images that are not trained on."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmscratch.config.sections import type_name, walk
from mmscratch.errors import InputError


@HOOKS.register_module()
class ValLossHook(Hook):
    """Add the losses on the validation images to the metrics of each validation.

    ``val_loss`` and its parts, such as ``val_loss_cls``, are logged, drawn in ``curves.png`` and
    kept in ``metrics.json`` as all metrics are. Beside the training loss they tell a detector that
    overfits, whose validation loss rises while its training loss falls, from one that needs more
    iterations.

    The images have the size they are validated at. The model is in evaluation mode, so that BN's
    statistics stay as they are. Proposals are sampled with the same random numbers at every
    validation. The time it takes is not counted as training. The pipeline of ``val_dataloader`` has
    to load what the model learns.
    """

    # before RuntimeInfoHook takes the metrics to the log
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._loader: DataLoader | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the images.

        Raises:
            InputError: their boxes or masks are not loaded, while those of the training images are.
        """
        cfg = runner.cfg
        missing = annotations(cfg.train_dataloader) - annotations(cfg.val_dataloader)
        if missing:
            raise InputError(
                f'{cfg.filename}: default_hooks.val_loss: the pipeline of val_dataloader does not '
                f'load all that is trained on: add {" and ".join(sorted(missing))} to its '
                'LoadAnnotations, or leave out the hook'
            )
        self._loader = Runner.build_dataloader(with_annotations_first(runner.cfg.val_dataloader))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the losses to ``metrics``, the mean over images; on all ranks the same."""
        if self._loader is not None and metrics is not None:
            metrics.update(losses(runner.model, self._loader))


def annotations(dataloader: Mapping[str, Any]) -> set[str]:
    """What the loader's pipelines load: ``with_bbox=True``, ``with_mask=True``, both or neither."""
    steps = [node for node in walk(dataloader) if type_name(node).endswith('Annotations')]
    defaults = {'with_bbox': True, 'with_mask': False}
    return {
        f'{name}=True'
        for name, default in defaults.items()
        if any(step.get(name, default) for step in steps)
    }


def with_annotations_first(dataloader: Mapping[str, Any]) -> dict[str, Any]:
    """A validation loader whose boxes and masks go through all that their image goes through.

    Evaluation wants the annotations as they are in the file, so that MMDetection's pipelines load
    them after the image was resized.
    """
    dataloader = copy.deepcopy(dict(dataloader))
    # its workers would be kept beside those of training and of validation
    dataloader['persistent_workers'] = False
    for node in walk(dataloader['dataset']):
        if 'pipeline' in node:
            node['pipeline'].sort(key=lambda step: not type_name(step).startswith('Load'))
    return dataloader


@torch.no_grad()
def losses(model: torch.nn.Module, loader: DataLoader) -> dict[str, float]:
    """``val_loss`` and its parts: the mean over the images of ``loader``, on all ranks."""
    if is_model_wrapper(model):
        model = model.module
    preprocessor = model.data_preprocessor
    augments = getattr(preprocessor, 'batch_augments', None)
    was_training = model.training
    sums: dict[str, torch.Tensor | float] = defaultdict(float)
    images = 0
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(get_rank())
        model.eval()
        if augments is not None:
            preprocessor.batch_augments = None
        try:
            for batch in loader:
                # as in training, which also pads the masks
                data = preprocessor(batch, training=True)
                count = len(batch['inputs'])
                total, parts = model.parse_losses(model(**data, mode='loss'))
                for name, value in {**parts, 'loss': total}.items():
                    if 'loss' in name:
                        sums[f'val_{name}'] += value * count
                images += count
        finally:
            model.train(was_training)
            if augments is not None:
                preprocessor.batch_augments = augments
    values = torch.stack([*sums.values(), total.new_tensor(images)])
    all_reduce(values)
    return dict(zip(sums, (values[:-1] / values[-1]).tolist()))

"""Loaded weights: in the model's names, told of, and refused where they hardly fit."""

from collections.abc import Mapping
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmscratch.errors import InputError
from mmscratch.hooks.runner_state import loaded_file
from mmscratch.weights.weight_names import Fit, fit

# Where checkpoints keep their weights: MMEngine and MoCo; DeiT, MAE, detectron2; Detectron; DINO.
CONTAINERS = ('state_dict', 'model', 'blobs', 'teacher')
# Published backbones lack nothing; room is left for a layer that a fork has added.
LEAST_SHARE = 0.9
# What to do about detectron2's files that do not fit, and what else to know of those that do.
DETECTRON2_CURE = (
    "of detectron2's models those with ResNet and FPN can be loaded (Faster, Mask, Keypoint and "
    "Cascade R-CNN): give one of the config's depth, heads and norm layers, or its ResNet alone, "
    'which is what begins with backbone.bottom_up.'
)
DETECTRON2_NOTE = (
    'a detectron2 file tells neither PIXEL_MEAN and PIXEL_STD of its training nor STRIDE_IN_1X1: '
    'where they were others, set model.data_preprocessor.mean and .std, and '
    'model.backbone.style=caffe for a stride in the first 1x1 conv'
)


@HOOKS.register_module()
class WeightsHook(Hook):
    """Fit what ``load_from`` loads to the model, and log how much of it fitted.

    MMEngine takes the weights whose names it knows and leaves all others at random, which can be
    every one of them. Here the names of published classifiers and of detectron2's R-CNNs are
    translated (:mod:`mmscratch.weights.weight_names`), and a file is refused with an
    :class:`InputError` if

    - training begins with it, and it has less than 90 % of the backbone's weights; or it is a
      detector's checkpoint, and less than 90 % of the model's
    - it is resumed from or tested, and anything is missing or of another shape
    - it is resumed from, and holds weights alone
    """

    # before InitHook and PreflightHook, which look at what is loaded
    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the weights in ``checkpoint`` by those that fit, in the model's names."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        # resuming without a name takes the work directory's last one
        file = loaded_file(runner)
        state = {'meta', 'message_hub', 'optimizer'}
        # without these a run would go on with the learning rate of its begin
        state |= {'param_schedulers'} if runner.param_schedulers else set()
        if runner._resume and not state <= checkpoint.keys():
            raise InputError(
                f'{file}: holds weights, but not the whole state of their run '
                f'({", ".join(sorted(state - checkpoint.keys()))}), as releases and best '
                'checkpoints do, and cannot be resumed from; resume from an iter_N.pth, or begin a '
                'run with these weights by --init'
            )
        begins = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        found = fit(
            weights_of(checkpoint),
            model.state_dict(),
            whole=not begins,
            # images are read as BGR
            rgb=getattr(model.data_preprocessor, '_channel_conversion', None),
            author=str(checkpoint.get('__author__')),
        )
        refuse_poor(found, file, str(runner.cfg.filename), complete=not begins)
        is_detectron2 = found.scheme == 'detectron2'
        if begins or is_detectron2:
            for key in CONTAINERS:
                checkpoint.pop(key, None)
            checkpoint['state_dict'] = found.weights
            runner.logger.info(f'{file}: {found.describe()}')
        if is_detectron2:
            runner.logger.warning(f'{file}: {DETECTRON2_NOTE}')


def weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The names and weights within a loaded file."""
    for key in CONTAINERS:
        if isinstance(checkpoint.get(key), Mapping):
            return checkpoint[key]
    return checkpoint


def refuse_poor(found: Fit, file: str, config: str, complete: bool) -> None:
    """Raise an :class:`InputError` for weights that do not fit well enough, see above."""
    detectron2 = found.scheme == 'detectron2' and DETECTRON2_CURE
    if complete and found.wanting:
        first = (found.mismatched or found.missing)[0]
        raise InputError(
            f'{file}: does not fit the model of {config}: {len(found.missing)} weights are '
            f'missing, {len(found.mismatched)} of another shape, the first is {first}; '
            + (detectron2 or 'use the config that it was trained with, and the same --data')
        )
    if found.share < LEAST_SHARE:
        raise InputError(
            f'{file}: only {found.share:.0%} of the weights that it should have fit the model of '
            f'{config} ({found.describe()}); '
            + (detectron2 or 'give weights of the same architecture and norm layers')
        )

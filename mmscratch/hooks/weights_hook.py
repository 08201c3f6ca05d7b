"""Translate the names of loaded weights, and refuse weights that do not fit the model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmscratch.errors import InputError
from mmscratch.loops.runner_state import loaded_file
from mmscratch.weights.weight_names import MatchedWeights, match_weights

# The keys of the weights in checkpoints: MMEngine and MoCo; DeiT, MAE, detectron2; Detectron; DINO.
CONTAINERS = ('state_dict', 'model', 'blobs', 'teacher')
# Published backbones are complete; a layer that a fork has added may be missing.
LEAST_SHARE = 0.9
DETECTRON2_CURE = (
    "of detectron2's models, those with ResNet and FPN can be loaded (Faster, Mask, Keypoint and "
    "Cascade R-CNN): give one of the config's depth, heads and norm layers, or its ResNet alone, "
    'the weights whose names begin with backbone.bottom_up.'
)
DETECTRON2_NOTE = (
    'a detectron2 file does not contain PIXEL_MEAN, PIXEL_STD and STRIDE_IN_1X1 of its training: '
    'if they were not the defaults, set model.data_preprocessor.mean and .std, and '
    'model.backbone.style=caffe for a stride in the first 1x1 conv'
)


@HOOKS.register_module()
class WeightsHook(Hook):
    """Match loaded weights to the model, and log how many match.

    MMEngine loads the weights whose names it knows and leaves all others random, possibly every
    one. This hook translates the names of published classifiers and of detectron2's R-CNNs
    (:mod:`mmscratch.weights.weight_names`). It raises :class:`InputError` if

    - training begins with the file, and less than 90 % of the backbone's weights match, or of the
      model's weights if the file is a detector's; or its first convolution does not
    - a run is resumed or tested, and a weight is missing or has another shape
    - a run is resumed from a file that contains weights only

    Where the images have other than three channels, the first convolution of colour images is
    adapted (:func:`mmscratch.weights.weight_names.adapted_conv`).

    Args:
        random_first_layer: leave the first convolution random in a run that begins with the file.

    Example:
        >>> custom_hooks = [dict(type='WeightsHook')]
        >>> load_from = 'moco.pth'
    """

    # before InitHook and PreflightHook, which look at the loaded weights
    priority = 'HIGHEST'

    def __init__(self, random_first_layer: bool = False) -> None:
        self.random_first_layer = random_first_layer

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the weights in ``checkpoint`` by those that match, under the model's names."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        file = loaded_file(runner)
        state = {'meta', 'message_hub', 'optimizer'}
        # without the schedulers a resumed run would use the learning rate of its first iteration
        state |= {'param_schedulers'} if runner.param_schedulers else set()
        if runner._resume and not state <= checkpoint.keys():
            raise InputError(
                f'{file}: holds weights, but lacks {", ".join(sorted(state - checkpoint.keys()))}, '
                'as releases and best checkpoints do, and cannot be resumed; resume an iter_N.pth, '
                'or begin a run with these weights by --init'
            )
        begins = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        config = str(runner.cfg.filename)
        matched = matched_weights(
            checkpoint, model, file, config, not begins, begins and self.random_first_layer
        )
        is_detectron2 = matched.scheme == 'detectron2'
        if begins or is_detectron2:
            for key in CONTAINERS:
                checkpoint.pop(key, None)
            checkpoint['state_dict'] = matched.weights
            runner.logger.info(f'{file}: {matched.describe()}')
        if is_detectron2:
            runner.logger.warning(f'{file}: {DETECTRON2_NOTE}')


def matched_weights(
    checkpoint: Mapping[str, Any],
    model: nn.Module,
    file: str,
    config: str,
    complete: bool,
    random_first_layer: bool = False,
) -> MatchedWeights:
    """Match the weights of a checkpoint to a model.

    Args:
        checkpoint: the loaded file.
        model: the detector, without wrappers.
        file: name of the checkpoint, for errors.
        config: name of the model's config, for errors.
        complete: whether every weight of the model must match; else ``LEAST_SHARE`` of those that
            the file should contain.
        random_first_layer: whether to leave out the first convolution.

    Raises:
        InputError: too few weights match.
    """
    preprocessor = model.data_preprocessor
    containers = (checkpoint.get(key) for key in CONTAINERS)
    matched = match_weights(
        next((held for held in containers if isinstance(held, Mapping)), checkpoint),
        model.state_dict(),
        whole=complete,
        # images are read as BGR
        rgb=getattr(preprocessor, 'is_rgb', getattr(preprocessor, '_channel_conversion', None)),
        author=str(checkpoint.get('__author__')),
        adapt=not complete,
    )
    if random_first_layer and matched.weights.pop(matched.first, None) is not None:
        matched = replace(matched, adapted='left random (random_first_layer)')
    cure = DETECTRON2_CURE if matched.scheme == 'detectron2' else ''
    is_bn = any(name.endswith('running_mean') for name in matched.unexpected)
    if is_bn and any(isinstance(module, nn.GroupNorm) for module in model.backbone.modules()):
        cure = _bn_cure(config)
    if complete and matched.num_unmatched:
        first = (matched.mismatched or matched.missing)[0]
        raise InputError(
            f'{file}: does not fit the model of {config}: {len(matched.missing)} weights are '
            f'missing, {len(matched.mismatched)} of another shape, the first is {first}; '
            + (cure or 'use the config that it was trained with, and the same --data')
        )
    if matched.share < LEAST_SHARE:
        raise InputError(
            f'{file}: only {matched.share:.0%} of the weights that it should have fit the model of '
            f'{config} ({matched.describe()}); '
            + (cure or 'give weights of the same architecture and norm layers')
        )
    begins_random = matched.first and matched.first not in matched.weights
    if begins_random and not (complete or random_first_layer):
        fault = next((m for m in matched.mismatched if m.startswith(f'{matched.first}:')), '')
        raise InputError(
            f'{file}: the first convolution would stay random under the weights of the file: '
            f'{fault or f"{matched.first} is missing"}; give weights for 3 channels, which are '
            'adapted, or for those of the images, or accept it by '
            'default_hooks.weights.random_first_layer=True'
        )
    return matched


def _bn_cure(config: str) -> str:
    """Where weights with BN fit, for a model with GN."""
    twin = Path(config).with_name(Path(config).name.replace('_gn_', '_syncbn_'))
    there = twin != Path(config) and twin.is_file()
    return 'BN normalizes by other means than GN, so its weights do not fit: take a model ' + (
        f'with SyncBN, such as {twin}'
        if there
        else "with norm_cfg=dict(type='SyncBN') in model.backbone"
    )

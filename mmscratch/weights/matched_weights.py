"""Refuse weights that do not fit a model, and say what would fit."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mmscratch.errors import InputError
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
        InputError: too few weights match, or the file's backbone is deeper.
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
    if matched.deeper:
        raise InputError(
            f'{file}: its backbone is deeper than that of {config}: {len(matched.deeper)} of its '
            f'weights have no place there, the first is {matched.deeper[0]}; give weights of the '
            "same depth, or take the config of the file's"
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

"""Any backbone of timm, from random initialization."""

import difflib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmdet.registry import MODELS
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmscratch.errors import InputError


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm (https://github.com/huggingface/pytorch-image-models) without its classifier.

    It keeps timm's initialization, and layers behind the last map are left out. Nothing is
    downloaded: weights come by ``--init`` or ``load_from``, from any file of timm. MMDetection's
    ``TIMMBackbone`` wants the package mmpretrain, and leaves the norm layers and all stages as they
    are. MMEngine does not take RMSNorm, which a few ViTs have, for a norm layer: its scales keep
    their weight decay.

    Args:
        model_name: timm's name, such as ``'resnetv2_50x1_bit'``.
        out_indices: which of timm's maps are taken, from 0, in ascending order.
        in_channels: channels of the images.
        frozen_stages: -1 freezes nothing, 0 the stem, n the stem and the first n stages (of a plain
            ViT: blocks). What is frozen is in eval mode.
        norm_eval: whether all BN layers are in eval mode in training.
        norm_cfg: None keeps timm's norm layers. ``GN`` with its ``num_groups`` replaces every BN
            layer, ``SyncBN`` too in a distributed run; ``BN`` keeps them, with another ``eps`` or
            ``momentum`` if given.
        drop_path_rate: of stochastic depth, 0 to 1.
        options: further arguments of ``timm.create_model``, such as ``dynamic_img_size``.
        init_cfg: MMEngine's initialization in place of timm's.

    Raises:
        InputError: timm is not installed or lacks the model, or the model cannot be as told.

    Example:
        >>> backbone = dict(type='TimmBackbone', model_name='tf_efficientnet_lite0',
        ...                 out_indices=(1, 2, 3, 4), norm_cfg=dict(type='GN', num_groups=8))
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        options: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError:
            raise InputError(
                f'model.backbone.model_name={model_name}: TimmBackbone needs the package timm: pip '
                "install -e '.[timm]'"
            ) from None
        if not timm.is_model(model_name):
            near = ', '.join(difflib.get_close_matches(model_name, timm.list_models(), cutoff=0))
            raise InputError(
                f'model.backbone.model_name={model_name}: timm {timm.__version__} has no such '
                f'model; the nearest names are {near}'
            )
        arguments: dict[str, Any] = dict(options or {})
        if loading := [key for key in arguments if key.startswith(('pretrained', 'checkpoint'))]:
            raise InputError(
                f'model.backbone.options.{loading[0]}={arguments[loading[0]]}: weights come by '
                '--init or load_from alone, which preflight records; leave it out'
            )
        if drop_path_rate:  # some models have none
            arguments['drop_path_rate'] = drop_path_rate
        try:
            wrapped = timm.create_model(
                model_name,
                pretrained=False,
                features_only=True,
                feature_cls='getter',  # keeps timm's names of the weights
                out_indices=tuple(out_indices),
                in_chans=in_channels,
                **arguments,
            )
        except (TypeError, ValueError, AttributeError, AssertionError, IndexError) as error:
            reason = ' '.join(str(error).split())
            raise InputError(
                f'model.backbone: timm cannot make {model_name} with out_indices='
                f'{tuple(out_indices)}, in_channels={in_channels} and {arguments} '
                f'({type(error).__name__}: {reason}); change these'
            ) from None
        self.model: nn.Module = wrapped.model
        # it has its initial weights already
        self.model.is_init = True
        self.out_indices = list(wrapped.out_indices)
        self.out_channels: list[int] = wrapped.feature_info.channels()
        self.strides: list[int] = wrapped.feature_info.reduction()
        self.norm_eval = norm_eval
        if norm_cfg is not None:
            self._set_norm(model_name, dict(norm_cfg))
        self._freeze(model_name, frozen_stages)
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [B, in_channels, H, W] to maps [B, out_channels[i], ~H / strides[i], ...]."""
        if x.device.type == 'cpu':
            # 1x1 and depthwise convolutions take half the time, and pass the layout on
            x = x.contiguous(memory_format=torch.channels_last)
        try:
            maps = self.model.forward_intermediates(
                x, indices=self.out_indices, output_fmt='NCHW', intermediates_only=True
            )
        except AssertionError as error:
            raise InputError(
                f'model.backbone: {type(self.model).__name__} takes no images of '
                f'{x.shape[2]} x {x.shape[3]} pixels ({error}): give it options that take any '
                'size, such as dynamic_img_size and dynamic_img_pad'
            ) from error
        return tuple(maps)

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Set the mode, but for what is frozen and, with ``norm_eval``, BN."""
        super().train(mode)
        if mode:
            for module in self.model.modules():
                parameters = list(module.parameters())
                is_frozen = parameters and not any(p.requires_grad for p in parameters)
                if is_frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                    module.eval()
        return self

    def _freeze(self, model_name: str, frozen_stages: int) -> None:
        if frozen_stages == -1:
            return
        from timm.models import group_parameters

        # the stem, then the stages; some models do not say which weights these are
        matcher = getattr(self.model, 'group_matcher', None)
        stages = []
        if matcher:
            stages = list(group_parameters(self.model, matcher(coarse=True)).values())
        if not 0 <= frozen_stages < len(stages):
            raise InputError(
                f'model.backbone.frozen_stages={frozen_stages}: {model_name} has '
                f'{max(0, len(stages) - 1)} stages up to its last map; give at most that, or -1'
            )
        for name in (name for stage in stages[: frozen_stages + 1] for name in stage):
            self.model.get_parameter(name).requires_grad = False

    def _set_norm(self, model_name: str, norm_cfg: dict) -> None:
        """Replace BN layers; scale and shift, and the activation within timm's layer, are kept."""
        kind, requires_grad = norm_cfg.pop('type'), norm_cfg.pop('requires_grad', True)
        norms = {n: m for n, m in self.model.named_modules() if isinstance(m, _BatchNorm)}
        if not norms or kind not in ('BN', 'SyncBN', 'GN'):
            has = 'its norm layers are BN' if norms else 'it has no BN layer to replace'
            raise InputError(
                f'model.backbone.norm_cfg.type={kind}: {model_name} can have '
                f'{"BN, SyncBN or GN" if norms else "its own norm layers alone"} ({has}); '
                f'{"give one of these" if norms else "leave out norm_cfg"}'
            )
        known = ('num_groups', 'eps') if kind == 'GN' else ('eps', 'momentum')
        if unknown := [key for key in norm_cfg if key not in known]:
            raise InputError(
                f'model.backbone.norm_cfg.{unknown[0]}={norm_cfg[unknown[0]]}: {kind} takes '
                f'{" and ".join(known)} here; leave it out'
            )
        for name, norm in norms.items():
            if kind == 'GN':
                self.model.set_submodule(name, _group_norm(norm, norm_cfg, name))
            else:
                for key, value in norm_cfg.items():
                    setattr(norm, key, value)
        if kind == 'SyncBN' and is_distributed():
            from timm.layers import convert_sync_batchnorm

            self.model = convert_sync_batchnorm(self.model)
        elif kind == 'SyncBN':
            # timm's SyncBN has the activation within it, which MMEngine's way back to BN would lose
            print_log(
                f'{model_name}: SyncBN runs as plain BN, since the launch is not distributed',
                logger='current',
                level=logging.WARNING,
            )
        for name in norms:
            self.model.get_submodule(name).requires_grad_(requires_grad)


def _group_norm(norm: _BatchNorm, norm_cfg: dict, name: str) -> nn.GroupNorm:
    from timm.layers import GroupNormAct

    channels, groups = norm.num_features, norm_cfg.get('num_groups')
    if not groups or channels % groups:
        raise InputError(
            f'model.backbone.norm_cfg.num_groups={groups}: does not divide the {channels} channels '
            f'of {name}; give a number that divides those of all layers, such as 8'
        )
    if hasattr(norm, 'act'):
        replacement = GroupNormAct(channels, **norm_cfg)
        replacement.drop, replacement.act = norm.drop, norm.act
    else:
        replacement = build_norm_layer(dict(type='GN', **norm_cfg), channels)[1]
    replacement.weight, replacement.bias = norm.weight, norm.bias
    return replacement

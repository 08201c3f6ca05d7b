"""Normalizes images of any number of channels."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS

from mmscratch.errors import InputError


@MODELS.register_module()
class SensorDataPreprocessor(DetDataPreprocessor):
    """``DetDataPreprocessor`` for N channels, in the order of the file.

    Mean and deviation are part of the weights (``data_preprocessor.mean`` and ``.std``), so that a
    checkpoint is tested, resumed and used with those of its training. A run that begins with its
    weights has its own.

    Args:
        mean: of each channel, in the units of the file.
        std: what the differences from it are divided by.
        deviation: of each channel over the training images, with which other images are compared.
            It changes no value.
        kwargs: those of ``DetDataPreprocessor``; colours keep the order of the file.

    Example:
        >>> model = dict(data_preprocessor=dict(
        ...     type='SensorDataPreprocessor', mean=[812.0, 40.5], std=[210.0, 11.2]))
    """

    # of the first three channels, for weights that were trained on BGR images
    is_rgb = True

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        deviation: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deviation = deviation
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise InputError(
                f'model.data_preprocessor: mean {list(mean)} and std {list(std)} are to have one '
                'number a channel, std above 0'
            )
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))
        self._enable_normalize = True

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalize ``data['inputs']``, N images [C, H, W], and pad them to one size.

        Raises:
            InputError: an image has another number of channels than the mean.
        """
        for image in data['inputs']:
            if len(image) != len(self.mean):
                raise InputError(
                    f'the model takes {len(self.mean)} channels, and an image has {len(image)}; '
                    'set channels in LoadImageFromFile, or give --data'
                )
        return super().forward(data, training)

"""Normalizes the two views of each image as a detector's preprocessor normalizes images."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor


@MODELS.register_module()
class TwoViewsPreprocessor(ImgDataPreprocessor):
    """``ImgDataPreprocessor`` for ``inputs`` [B, 2, C, H, W], pairs of views of equal size.

    Args:
        mean, std: of each channel, or one of all; None leaves values as they are.
        kwargs: those of ``ImgDataPreprocessor``.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._enable_normalize = mean is not None
        # the parent's take one channel or three
        for name, values in (('mean', mean), ('std', std)) if mean is not None else ():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the views as float32, normalized, on the model's device."""
        views = data['inputs']
        flat = super().forward(dict(inputs=views.flatten(0, 1)), training)
        return dict(inputs=flat['inputs'].unflatten(0, views.shape[:2]))

"""Normalizes the two views of each image as a detector's preprocessor normalizes images."""

from typing import Any

from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor


@MODELS.register_module()
class TwoViewsPreprocessor(ImgDataPreprocessor):
    """``ImgDataPreprocessor`` for ``inputs`` [B, 2, 3, H, W], pairs of views of equal size."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return the views as float32, normalized, on the model's device."""
        views = data['inputs']
        flat = super().forward(dict(inputs=views.flatten(0, 1)), training)
        return dict(inputs=flat['inputs'].unflatten(0, views.shape[:2]))

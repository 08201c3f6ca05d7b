"""MMDetection's ``PackDetInputs``, with a faster change of the image's layout."""

import cv2
import mmdet.datasets.transforms
import numpy as np
import torch
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class PackDetInputs(mmdet.datasets.transforms.PackDetInputs):
    """``PackDetInputs`` of MMDetection, in whose place it is registered.

    OpenCV takes the channels of an image apart in a tenth of the time of torch or NumPy.
    """

    def transform(self, results: dict) -> dict:
        """Pack the image as a tensor [C, H, W], and the rest as MMDetection does."""
        image = results.get('img')
        if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] > 4:
            return super().transform(results)
        inputs = torch.empty(image.shape[2], *image.shape[:2], dtype=torch.uint8)
        cv2.split(image, list(inputs.numpy()))
        rest = {key: value for key, value in results.items() if key != 'img'}
        return dict(inputs=inputs, **super().transform(rest))

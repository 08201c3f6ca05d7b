"""Detections of one image after another, as pictures and JSON."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmengine
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample

from mmscratch.errors import InputError


class Inferencer(DetInferencer):
    """``DetInferencer`` whose JSON has class names and keypoints too.

    ``names`` has a string for each of the N ``labels``; ``keypoints``, where the model predicts
    them, N lists of K ``[x, y, score]``, in pixels of the image.

    Raises :class:`InputError` for an image that cannot be decoded.
    """

    def preprocess(self, *args, **kwargs) -> Iterator[Any]:
        """Yield the batches of loaded images."""
        try:
            yield from super().preprocess(*args, **kwargs)
        except AssertionError as error:
            # in mmcv's words, which end with the file
            _, failed, file = str(error).partition('failed to load image: ')
            if not failed:
                raise
            raise InputError(f'{file} cannot be decoded: replace it, or leave it out') from None

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict[str, Any]:
        """What is written of one image, to ``preds/<its name>.json`` below ``pred_out_dir``."""
        result = super().pred2dict(data_sample)
        classes = self.model.dataset_meta['classes']
        result['names'] = [classes[label] for label in result['labels']]
        if 'keypoints' in data_sample.pred_instances:
            result['keypoints'] = data_sample.pred_instances.keypoints.tolist()
        if pred_out_dir:
            name = Path(data_sample.img_path).stem
            mmengine.dump(result, Path(pred_out_dir) / 'preds' / f'{name}.json')
        return result

"""Detections of one image after another, as pictures and JSON."""

from pathlib import Path
from typing import Any

import mmengine
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample


class Inferencer(DetInferencer):
    """``DetInferencer`` whose JSON has class names and keypoints too.

    ``names`` has a string for each of the N ``labels``; ``keypoints``, where the model predicts
    them, N lists of K ``[x, y, score]``, in pixels of the image.
    """

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

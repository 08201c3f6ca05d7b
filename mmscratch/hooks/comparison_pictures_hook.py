"""Pictures of validation images: ground truth on the left, detections on the right."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import torch
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmscratch.data.transforms.load_image_from_file import loader_of
from mmscratch.visualization.keypoint_visualizer import bitmaps, side_by_side


@HOOKS.register_module()
class ComparisonPicturesHook(Hook):
    """Draw the same first images at every validation into ``work_dir/pictures/``.

    ``DetVisualizationHook`` draws one image of every n-th batch, under a name that counts
    iterations, so that no two validations show the same images. Here the newest picture of an image
    replaces the older one.

    Args:
        num_images: how many validation images, from the first. With several processes, the first of
            the main one's share.
        score_thr: detections below this score aren't drawn.
        min_side: images with a shorter side below this many pixels are drawn enlarged by a whole
            number, for labels to be legible.

    Example:
        >>> default_hooks = dict(
        ...     visualization=dict(_delete_=True, type='ComparisonPicturesHook', num_images=16))
    """

    def __init__(self, num_images: int = 16, score_thr: float = 0.5, min_side: int = 320) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.min_side = min_side
        self._drawn = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Start again at the first image."""
        self._drawn = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw the batch's images until ``num_images`` are done."""
        if runner.rank != 0:
            return
        for sample in (outputs or ())[: self.num_images - self._drawn]:
            self._draw(runner, sample)
            self._drawn += 1

    before_test_epoch = before_val_epoch
    after_test_iter = after_val_iter

    def _draw(self, runner: Runner, sample: DetDataSample) -> None:
        image = loader_of(runner.cfg).picture(sample.img_path)
        factor = -(-self.min_side // min(image.shape[:2]))
        sample = sample.cpu().clone()
        if factor > 1:
            image = image.repeat(factor, axis=0).repeat(factor, axis=1)
            for instances in (sample.gt_instances, sample.pred_instances):
                instances.bboxes = instances.bboxes * factor
                if 'masks' in instances:
                    masks = bitmaps(instances.masks).repeat(factor, axis=1).repeat(factor, axis=2)
                    instances.masks = torch.from_numpy(masks)
                if 'keypoints' in instances:
                    scale = instances.keypoints.new_tensor([factor, factor, 1])
                    instances.keypoints = instances.keypoints * scale
        visualizer = Visualizer.get_current_instance()
        classes, palette = map(visualizer.dataset_meta.get, ('classes', 'palette'))
        found = sample.pred_instances
        sides = sample.gt_instances, found[found.scores > self.score_thr]
        file = Path(runner.work_dir, 'pictures', f'{Path(sample.img_path).stem}.png')
        mmcv.imwrite(side_by_side(visualizer, image, sides, classes, palette), str(file))

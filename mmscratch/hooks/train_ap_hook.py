"""Compute AP on a fixed sample of the training images."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset, Compose
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner, autocast
from torch.utils.data import DataLoader, Subset

from mmscratch.config.sections import as_list
from mmscratch.data.samplers.subset import choose_ids
from mmscratch.data.seeded_dataset import random_state_kept
from mmscratch.errors import InputError
from mmscratch.evaluation.learning_state import train_name

MOST_IMAGES = 500


@HOOKS.register_module()
class TrainApHook(Hook):
    """Add AP on a fixed sample of the training images to the metrics of each validation.

    ``train_bbox_mAP``, and ``train_segm_mAP``, ``train_keypoints_mAP`` or ``train_voc_mAP`` where
    validation yields them, are logged, written to ``metrics.json`` and drawn in ``curves.png``. The
    gap to the validation AP grows where the detector overfits. The log ends with a verdict
    (:func:`mmscratch.evaluation.learning_state.learning_state`).

    The images are evaluated as those of validation, without augmentation. Training goes on as
    without the hook: weights, norm statistics, random numbers and the order of images are the same
    to the last bit. The time is not counted as training.

    Args:
        num_images: of the sample; None: as many as validation has, up to 500.
        seed: chooses the images, among those that the run trains on.

    Example:
        >>> default_hooks = dict(train_ap=dict(type='TrainApHook'))
    """

    # before RuntimeInfoHook, which logs the metrics, and before EMAHook takes its weights back
    priority = 'HIGHEST'

    def __init__(self, num_images: int | None = None, seed: int = 0) -> None:
        self.num_images = num_images
        self.seed = seed
        self._number = 0
        self._loader: DataLoader | None = None
        self._evaluator: Evaluator | None = None

    def before_train(self, runner: Runner) -> None:
        """Choose the images, and build their loader and evaluator.

        Raises:
            InputError: the run trains on several data sets, or on none with a pipeline.
        """
        if runner.val_loop is None:
            return
        dataset = runner.train_dataloader.dataset
        if not isinstance(dataset, BaseDataset):
            raise InputError(
                f'{runner.cfg.filename}: default_hooks.train_ap: train_dataloader.dataset is a '
                f'{type(dataset).__name__}, and has to be a single data set; remove the hook'
            )
        with random_state_kept():
            indices = self._choose(runner, dataset)
            # shares the annotations; they are not loaded a second time
            plain = copy.copy(dataset)
            plain.pipeline = Compose(runner.cfg.val_dataloader.dataset.pipeline)
            self._number = len(indices)
            loader = copy.deepcopy(dict(runner.cfg.val_dataloader))
            loader['dataset'] = Subset(plain, indices)
            # persistent workers would stay beside those of training and of validation
            loader['persistent_workers'] = False
            self._loader = Runner.build_dataloader(loader, seed=runner.seed)
            ids = {dataset.get_data_info(index)['img_id'] for index in indices}
            self._evaluator = _evaluator(runner.cfg.val_evaluator, dataset, ids)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the AP of the sample to ``metrics``, the same on all ranks."""
        if self._loader is None or self._evaluator is None or metrics is None:
            return
        with random_state_kept(), torch.no_grad():
            # the model is in evaluation mode, as validation leaves it
            for batch in self._loader:
                with autocast(enabled=runner.val_loop.fp16):
                    samples = runner.model.val_step(batch)
                self._evaluator.process(data_samples=samples, data_batch=batch)
            found = self._evaluator.evaluate(self._number)
        metrics.update({train_name(name): ap for name, ap in found.items() if name.endswith('mAP')})

    def _choose(self, runner: Runner, dataset: BaseDataset) -> list[int]:
        """Indices of the sample, ascending."""
        sampler = getattr(runner.train_dataloader.batch_sampler, 'sampler', None)
        subset = getattr(sampler, 'subset', None)
        indices = range(len(dataset)) if subset is None else subset.indices.tolist()
        number = self.num_images or min(MOST_IMAGES, len(runner.val_loop.dataloader.dataset))
        return sorted(int(index) for index in choose_ids(indices, number, self.seed))


def _evaluator(cfg: Any, dataset: BaseDataset, ids: set) -> Evaluator:
    """The evaluator of validation, for images of the training data."""
    sections: Sequence[dict] = copy.deepcopy(as_list(cfg))
    for section in sections:
        if 'ann_file' in section:
            section['ann_file'] = dataset.ann_file
        section.pop('outfile_prefix', None)
    evaluator = Evaluator(list(sections))
    evaluator.dataset_meta = dataset.metainfo
    for metric in evaluator.metrics:
        if content := getattr(getattr(metric, '_coco_api', None), 'dataset', None):
            # the annotations of all images would stay in memory beside those of the data set
            small = COCO()
            small.dataset = content | {
                key: [row for row in content[key] if row[name] in ids]
                for key, name in (('images', 'id'), ('annotations', 'image_id'))
            }
            small.createIndex()
            metric._coco_api = small
    return evaluator

"""A record of which images a run was trained on."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class SubsetRecordHook(Hook):
    """Write the training subset to ``subset.json`` in the work directory, before training.

    The file can be given back as ``subset`` of the samplers. Nothing is written when all images
    take part. Classes without an instance in the subset are named in the log. That a resumed run
    has the subset it began with is for :class:`PreflightHook` to check.
    """

    def before_train(self, runner: Runner) -> None:
        """Record the subset."""
        dataloader = runner.train_dataloader
        sampler = dataloader.batch_sampler.sampler
        ids = getattr(sampler, 'subset_ids', None)
        file = Path(runner.work_dir) / 'subset.json'
        if ids is not None and is_main_process():
            record = dict(
                k=len(ids),
                num_images=len(dataloader.dataset),
                subset_seed=sampler.subset_seed,
                sha256=sampler.subset_sha256,
                ids=ids,
            )
            # In one go: no other process and no crash sees half a file.
            partial = file.with_suffix('.tmp')
            partial.write_text(json.dumps(record), encoding='utf-8')
            os.replace(partial, file)
            runner.logger.info(
                f'Training on {len(ids)} of {len(dataloader.dataset)} images, subset seed '
                f'{sampler.subset_seed}, SHA-256 {sampler.subset_sha256}: {file}'
            )
        if ids is not None and is_main_process():
            absent = self.absent_classes(dataloader.dataset, sampler.members.tolist())
            if absent:
                runner.logger.warning(f'The subset has no instance of: {", ".join(absent)}')

    @staticmethod
    def absent_classes(dataset: Any, indices: list[int]) -> list[str]:
        """Names of the classes without an instance in these images; ignored boxes do not count."""
        counts: Counter[int] = Counter()
        for index in indices:
            instances = dataset.get_data_info(index)['instances']
            counts.update(i['bbox_label'] for i in instances if not i.get('ignore_flag', 0))
        return [name for label, name in enumerate(dataset.metainfo['classes']) if not counts[label]]

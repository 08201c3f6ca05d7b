"""Record which images a run is trained on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.data.samplers.subset import record_of


@HOOKS.register_module()
class SubsetRecordHook(Hook):
    """Write the training subset to ``subset.json`` in the work directory, before training.

    The samplers accept the file as ``subset``. No file is written if all images take part. A
    warning names the classes without an instance in the subset. :class:`PreflightHook` checks that
    a resumed run has the subset of its start.
    """

    def before_train(self, runner: Runner) -> None:
        """Write the file and the log lines."""
        dataset = runner.train_dataloader.dataset
        subset = getattr(runner.train_dataloader.batch_sampler.sampler, 'subset', None)
        if subset is None or subset.ids is None or not is_main_process():
            return
        record = dict(num_images=len(dataset), subset_seed=subset.seed) | record_of(subset.ids)
        file = Path(runner.work_dir) / 'subset.json'
        file.write_text(json.dumps(record), encoding='utf-8')
        runner.logger.info(
            f'Training on {len(subset.ids)} of {len(dataset)} images, subset seed {subset.seed}, '
            f'SHA-256 {subset.sha256}: {file}'
        )
        absent = self.absent_classes(dataset, subset.indices.tolist())
        if absent:
            runner.logger.warning(f'The subset has no instance of: {", ".join(absent)}')

    @staticmethod
    def absent_classes(dataset: Any, indices: list[int]) -> list[str]:
        """Find the classes without an instance in these images; ignored boxes do not count.

        Images of a pre-training have no classes.
        """
        counts: Counter[int] = Counter()
        for index in indices:
            instances = dataset.get_data_info(index).get('instances', [])
            counts.update(i['bbox_label'] for i in instances if not i.get('ignore_flag', 0))
        classes = getattr(dataset, 'metainfo', {}).get('classes', ())
        return [name for label, name in enumerate(classes) if not counts[label]]

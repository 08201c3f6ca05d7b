"""A pre-training without labels, as a run of a study."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config

from mmscratch.config import pretraining_recipe
from mmscratch.config.scalars import read_scalars
from mmscratch.study.run import Run


@dataclass(frozen=True)
class PretrainingRun(Run):
    """``tools/pretrain.py`` for the backbone of ``config`` on the training images of ``data``.

    ``arguments`` are the tool's, such as ``--iterations 1000``. Runs that begin with it have it as
    ``weights``.
    """

    tool: ClassVar[str] = 'pretrain.py'

    def load(self) -> Config:
        """The recipe of pre-training for the detector, with the options in it."""
        cfg = pretraining_recipe.recipe_of(Config.fromfile(self.config))
        cfg.merge_from_dict(dict(self.options))
        return cfg

    @functools.cached_property
    def iterations(self) -> int:
        """Those of ``arguments``, or of the recipe."""
        if '--iterations' in self.arguments:
            return int(self.arguments[self.arguments.index('--iterations') + 1])
        return self.load().train_cfg.max_iters

    def output(self, later: Run) -> str:
        """The weights of the backbone."""
        return 'backbone.pth'

    def _data_option(self, folder: Callable[[Run], Path]) -> list[str]:
        # imports torch, which a job of Slurm does not need to start its process
        from mmscratch.data import layouts

        assert self.data.root
        return ['--images', str(layouts.images_of(self.data.root))]

    def record(self, folder: Path) -> dict[str, Any]:
        """Loss, spread of the embeddings, and what the file of weights says of itself."""
        # imports torch, too
        from mmscratch.weights import checkpoint

        records = [record for record in read_scalars(folder) if 'loss' in record]
        proof = checkpoint.load(folder / 'backbone.pth')['meta']['preflight']
        last = records[-1]
        return dict(
            iterations=proof['pretraining']['iterations'],
            seed=self.seed,
            config=self.config,
            command=' '.join(self.command(lambda run: Path(run.label))),
            train_seconds=round(sum(r['time'] for r in records) / len(records) * last['step'], 1),
            pretraining=proof['pretraining'],
            history=[
                {'iteration': last['step']}
                | {key: value for key, value in last.items() if key.endswith('_spread')}
            ],
            loss=[[record['step'], round(record['loss'], 4)] for record in records],
        )

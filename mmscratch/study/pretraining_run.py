"""A pre-training without labels, as a run of a study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmscratch.study.run import Run
from mmscratch.visualization.curves import read_scalars
from mmscratch.weights import checkpoint

RECIPE = 'configs/_base_/pretraining.py'


@dataclass(frozen=True)
class PretrainingRun(Run):
    """``tools/pretrain.py`` for the backbone of ``config`` on the training images of ``data``.

    ``arguments`` are the tool's, such as ``--iterations 1000``. Runs that begin with it have it as
    ``weights``.
    """

    def load(self) -> Config:
        """The recipe of pre-training, with the detector's backbone and the options in it."""
        cfg = Config.fromfile(RECIPE)
        cfg.model.backbone = Config.fromfile(self.config).model.backbone
        cfg.merge_from_dict(dict(self.options))
        return cfg

    def output(self, later: Run) -> str:
        """The weights of the backbone."""
        return 'backbone.pth'

    def command(self, folder: Callable[[Run], Path]) -> list[str]:
        """The tool in tools/ that makes it, with its options."""
        assert self.data.root
        command = ['pretrain.py', self.config, '--images', str(self.data.root / 'train')]
        command += ['--work-dir', str(folder(self)), '--seed', str(self.seed), *self.arguments]
        if (folder(self) / 'last_checkpoint').exists():
            command.append('--resume')
        if self.options:
            command += ['--cfg-options', *(f'{key}={value}' for key, value in self.options)]
        return command

    def record(self, folder: Path) -> dict[str, Any]:
        """Loss, spread of the embeddings, and what the file of weights says of itself."""
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

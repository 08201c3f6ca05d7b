"""Pseudo labels by a teacher, as a run of a study."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmscratch.data.coco_folder import LABELLED
from mmscratch.study.run import Run


@dataclass(frozen=True)
class PseudoLabelRun(Run):
    """``tools/data/pseudo_labels.py`` with the teacher in ``weights``.

    ``arguments`` are the tool's, such as ``--labelled 60``. Runs that are trained on the labels
    have it as ``labels``.
    """

    @functools.cached_property
    def iterations(self) -> int:
        """None: it trains nothing."""
        return 0

    def output(self, later: Run) -> str:
        """The folder in COCO layout."""
        return 'data'

    def command(self, folder: Callable[[Run], Path]) -> list[str]:
        """The tool in tools/ that makes it, with its options."""
        assert self.weights
        teacher = folder(self.weights) / self.weights.output(self)
        command = ['data/pseudo_labels.py', str(teacher), '--data', str(self.data.root)]
        return [*command, '--out', str(folder(self) / self.output(self)), *self.arguments]

    def record(self, folder: Path) -> dict[str, Any]:
        """The thresholds, and how many objects they let through."""
        data = folder / 'data'
        content = json.loads((data / 'annotations' / 'instances_train.json').read_text())
        pseudo = sum(1 for row in content['annotations'] if row.get('pseudo'))
        return dict(
            iterations=0,
            seed=self.seed,
            config=self.config,
            train_seconds=0,
            thresholds=json.loads((data / LABELLED).read_text())['thresholds'],
            history=[dict(iteration=0, pseudo_labels=pseudo)],
        )

"""One training run of the study: what it is, and whether its result is there already."""

import copy
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmscratch
from mmscratch.miniature import data

# Hooks that watch: no result depends on them
WATCHERS = ('finite_loss', 'logger', 'report', 'subset', 'timer', 'visualization')


@functools.cache
def _config(file: str) -> Config:
    """Not to be changed. A base of MMDetection's takes a second each time."""
    return Config.fromfile(file)


@dataclass(frozen=True)
class Run:
    """A config with options, a seed, and what it begins with.

    Args:
        name: of the runs that differ in their seed alone, such as ``scratch_3x``.
        config: path below the repository's root.
        seed: of weights and order.
        options: dotted config keys and values, as of ``--cfg-options``.
        weights: the run whose last checkpoint gives the initial weights.
        trunk: the run that this one branches off from, and goes on with another schedule.
        begin: iteration of the trunk's checkpoint.
    """

    name: str
    config: str
    seed: int
    options: tuple[tuple[str, Any], ...] = ()
    weights: 'Run | None' = None
    trunk: 'Run | None' = None
    begin: int = 0

    @property
    def label(self) -> str:
        """Name and seed: of the run's folder and of its result."""
        return f'{self.name}_seed{self.seed}'

    @property
    def needs(self) -> list['Run']:
        """The runs that have to be done before."""
        return [run for run in (self.weights, self.trunk) if run]

    def load(self) -> Config:
        """The config with the options in it."""
        cfg = copy.deepcopy(_config(self.config))
        cfg.merge_from_dict(dict(self.options))
        return cfg

    @functools.cached_property
    def data(self) -> str:
        """The name of its data set."""
        return Path(self.load().train_dataloader.dataset.data_root).name

    @functools.cached_property
    def iterations(self) -> int:
        """Iterations that it trains itself."""
        return self.load().train_cfg.max_iters - self.begin

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of all that decides its result: config, data, seed, version, what it begins with.

        The version is that of the package, so that a word in a comment doesn't cost hours; nor
        does a change of what is logged and drawn.
        """
        config = self.load().to_dict()
        for name in WATCHERS:
            config['default_hooks'].pop(name, None)
        parts = [
            json.dumps(config, sort_keys=True, default=str),
            data.recipe(self.data),
            str(self.seed),
            mmscratch.__version__,
            *(run.key for run in self.needs),
            str(self.begin),
        ]
        return hashlib.sha256('\0'.join(parts).encode()).hexdigest()

    def result(self, folder: Path) -> dict[str, Any] | None:
        """What the run has left in ``folder``; None if that was another run or nothing."""
        file = folder / f'{self.label}.json'
        if not file.is_file():
            return None
        result = json.loads(file.read_text())
        return result if result['key'] == self.key else None


def in_order(runs: Sequence[Run]) -> list[Run]:
    """The runs and all that they need, each once, needs first."""
    ordered: dict[str, Run] = {}
    for run in runs:
        for earlier in (*in_order(run.needs), run):
            ordered.setdefault(earlier.label, earlier)
    return list(ordered.values())

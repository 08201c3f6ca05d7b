"""One training run of a study, its key, and its result if there is one."""

import copy
import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config

from mmscratch.config import work_dir
from mmscratch.config.scalars import read_scalars
from mmscratch.errors import InputError

# The parts of a config that decide the result of a run.
DECIDING = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'val_dataloader',
    'val_evaluator',
    'default_hooks',
    'custom_hooks',
    'drop_bad_boxes',
)
# Hooks that neither change weights nor choose the data that they are trained on.
WATCHERS = (
    'checkpoint',
    'collapse',
    'finite_loss',
    'health',
    'logger',
    'mean_over_ranks',
    'param_scheduler',
    'preflight',
    'report',
    'sampler_seed',
    'subset',
    'timer',
    'train_ap',
    'val_loss',
    'visualization',
    'weights',
)
# Keys at any depth that decide nothing: where files are, how fast they load, colours of pictures.
SILENT = (
    'ann_file',
    'backend_args',
    'data_prefix',
    'data_root',
    'num_workers',
    'palette',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    '_scope_',
)


# What a result keeps of metrics.json
KEPT = (
    *('seed', 'config', 'command', 'images_seen', 'train_seconds', 'parameters'),
    *('pixels_seen', 'pixels_seen_total', 'versions', 'git_commit', 'hardware'),
)


@functools.cache
def _config(file: str) -> Config:
    """The config, not to be changed. Loading takes a second for each base of MMDetection."""
    return Config.fromfile(file)


# Dotted config keys and values, as of --cfg-options
Options = tuple[tuple[str, Any], ...]
# Several runs share the cores: their loaders take none of their own.
SHARED_CORES: Options = tuple(
    (f'{split}_dataloader.{key}', value)
    for split in ('train', 'val')
    for key, value in (('num_workers', 0), ('persistent_workers', False))
)


def subset(images: int, seed: int = 0) -> Options:
    """Options that train on so many images, chosen by the seed."""
    sampler = 'train_dataloader.sampler'
    return ((f'{sampler}.subset', images), (f'{sampler}.subset_seed', seed))


@dataclass(frozen=True)
class Data:
    """A data set of a study.

    Args:
        name: of the data set and its folder.
        recipe: stands for its images and annotations in the keys of runs: what draws it, or a
            checksum.
        root: the folder that runs get by ``--data``; None if the config names it.
    """

    name: str
    recipe: str
    root: Path | None = None


@dataclass(frozen=True)
class Run:
    """A config with options, a seed, data, and the runs that it begins with.

    Args:
        name: shared by runs that differ only in their seed, such as ``scratch_3x``.
        config: path below the repository's root.
        seed: of weights and order.
        data: what it is trained on.
        options: dotted config keys and values, as of ``--cfg-options``.
        weights: the run whose last checkpoint gives the initial weights.
        parent: the run that this one continues with another schedule.
        begin: iteration of the parent's checkpoint.
        arguments: further options of the tool, such as ``--freeze``.
        labels: the run whose folder of pseudo-labelled images takes the place of ``data``.
    """

    name: str
    config: str
    seed: int
    data: Data
    options: Options = ()
    weights: 'Run | None' = None
    parent: 'Run | None' = None
    begin: int = 0
    arguments: tuple[str, ...] = ()
    labels: 'Run | None' = None
    tool: ClassVar[str] = 'train.py'

    @property
    def label(self) -> str:
        """Name and seed, which name the folder of the run and its result."""
        return f'{self.name}_seed{self.seed}'

    @property
    def needs(self) -> list['Run']:
        """The runs that have to be done before."""
        return [run for run in (self.weights, self.parent, self.labels) if run]

    @property
    def loads_weights(self) -> bool:
        """Whether it began with the weights of a run, or the run that it continues did."""
        return bool(self.weights or (self.parent and self.parent.loads_weights))

    def load(self) -> Config:
        """The config with the options in it."""
        cfg = copy.deepcopy(_config(self.config))
        cfg.merge_from_dict(dict(self.options))
        return cfg

    @functools.cached_property
    def iterations(self) -> int:
        """Iterations after ``begin``."""
        return self.load().train_cfg.max_iters - self.begin

    def logged(self, folder: Path) -> int:
        """How many of its iterations are in the log of its work directory."""
        records = read_scalars(folder)
        return min(max(records[-1]['step'] - self.begin, 0), self.iterations) if records else 0

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of everything that decides the result.

        That is model, data, schedule, optimizer, evaluation, seed, and the same of the runs that it
        begins with. Names of modules, files and folders do not count, nor what is logged, saved and
        drawn. The recipe of the data set, with the version of the drawing, stands for the data.
        """
        cfg = self.load()
        parts = [
            json.dumps(meaning(cfg.to_dict()), sort_keys=True, default=str),
            self.data.recipe,
            str(self.seed),
            *(run.key for run in self.needs),
            str(self.begin),
            *self.arguments,
            *([cfg.load_from] if cfg.get('load_from') else []),
        ]
        return hashlib.sha256('\0'.join(parts).encode()).hexdigest()

    def output(self, later: 'Run') -> str:
        """The name of the file in its work directory that ``later`` begins with."""
        at = later.begin if later.parent == self else self.begin + self.iterations
        return f'iter_{at}.pth'

    def command(self, folder: Callable[['Run'], Path]) -> list[str]:
        """The tool in tools/ that makes it, with its options.

        Args:
            folder: the work directory of a run.
        """
        command = [self.tool, self.config, '--work-dir', str(folder(self))]
        command += ['--seed', str(self.seed)]
        if self.weights:
            command += ['--init', str(folder(self.weights) / self.weights.output(self))]
        if work_dir.saved_checkpoints(folder(self)):
            command.append('--resume')
        elif self.parent:
            command += ['--resume', str(folder(self.parent) / self.parent.output(self))]
        command += [*self._data_option(folder), *self.arguments]
        if self.options:
            command += ['--cfg-options', *(f'{key}={value}' for key, value in self.options)]
        return command

    def _data_option(self, folder: Callable[['Run'], Path]) -> list[str]:
        if self.labels:
            return ['--data', str(folder(self.labels) / self.labels.output(self))]
        return ['--data', str(self.data.root)] if self.data.root else []

    def record(self, folder: Path) -> dict[str, Any]:
        """What its result keeps of its work directory.

        Raises:
            InputError: its last iteration was not validated.
        """
        file = folder / 'metrics.json'
        report = json.loads(file.read_text()) if file.exists() else {'history': []}
        end = self.begin + self.iterations
        if not report['history'] or report['history'][-1]['iteration'] != end:
            raise InputError(f'{file}: iteration {end} was not validated; remove this folder')
        losses = [record for record in read_scalars(folder) if 'loss' in record]
        return dict(
            iterations=end,
            **{name: report[name] for name in KEPT if name in report},
            history=report['history'],
            objects_per_image=self._objects_per_image(),
            loss=[[record['step'], round(record['loss'], 4)] for record in losses],
        )

    def _objects_per_image(self) -> float | None:
        """Of the whole training set; None in PASCAL VOC layout."""
        # imports torch, which a job of Slurm does not need to start its process
        from mmscratch.data import layouts

        root = self.data.root
        dataset = layouts.find(root)['train'] if root else self.load().train_dataloader.dataset
        if not dataset['ann_file'].endswith('.json'):
            return None
        coco = json.loads(Path(dataset['data_root'], dataset['ann_file']).read_text())
        return round(len(coco['annotations']) / len(coco['images']), 3)

    def result(self, folder: Path) -> dict[str, Any] | None:
        """The result in ``folder``; None if there is none, or one with another key."""
        file = folder / f'{self.label}.json'
        if not file.is_file():
            return None
        result = json.loads(file.read_text())
        return result if result['key'] == self.key else None


def folder_name(name: str, seed: int, key: str) -> str:
    """The name of a run's work directory; each key has its own."""
    return f'{name}_seed{seed}_{key[:8]}'


def own_seconds(result: Mapping[str, Any]) -> float:
    """Seconds of training of a result without those of the run that it continues."""
    begin = result.get('begin', 0) / max(1, result['iterations'])  # pseudo labels take no iteration
    return result['train_seconds'] * (1 - begin)


def meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that decides the result of a run."""
    parts = {name: config[name] for name in DECIDING if name in config}
    hooks = parts.get('default_hooks') or {}
    parts['default_hooks'] = {name: hook for name, hook in hooks.items() if name not in WATCHERS}
    return _without_silent(parts)


def _without_silent(node: Any) -> Any:
    """The same without the keys of ``SILENT``."""
    if isinstance(node, Mapping):
        return {key: _without_silent(value) for key, value in node.items() if key not in SILENT}
    if isinstance(node, list | tuple):
        return [_without_silent(item) for item in node]
    return node


def in_order(runs: Sequence[Run]) -> list[Run]:
    """The runs and all runs that these need, each once, and behind what it needs."""
    ordered: dict[str, Run] = {}
    for run in runs:
        for earlier in (*in_order(run.needs), run):
            ordered.setdefault(earlier.label, earlier)
    return list(ordered.values())


def results_of(runs: Sequence[Run], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The results in ``folder`` of the runs and of what these need, by name.

    Runs without a result are left out.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in in_order(runs):
        if (result := run.result(folder)) is not None:
            found[run.name].append(result)
    return dict(found)

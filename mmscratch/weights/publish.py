"""A checkpoint as model zoos release it: the weights, what they are, and the files that show it.

MMDetection's publish_model.py cannot read a checkpoint under torch >= 2.6, whose loader refuses
the numpy objects in it, and keeps all of its meta.
"""

import filecmp
import hashlib
import json
import os
import re
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.config import Config

from mmscratch.data.repoint import walk
from mmscratch.errors import InputError
from mmscratch.visualization import read_scalars
from mmscratch.weights import checkpoint, checkpoint_config, safetensors_file

ROOT = Path(__file__).resolve().parents[2]
# Of a checkpoint's meta, besides the config: classes for inference, the proof that a run begun
# with these weights carries on as its parent's, and which run this was.
KEPT = ('dataset_meta', 'preflight', 'iter', 'epoch', 'seed')
KEPT += ('experiment_name', 'time', 'mmengine_version')
# What a file's name may be made of: no folder among it
NAME = re.compile(r'[\w.+-]+')
# init of the proof -> folder of configs/
FOLDERS = {'random': 'scratch', 'pretrained': 'pretrained'}
# in metrics.json -> task and metric in model-index.yml
METRICS = {
    'bbox_mAP': ('Object Detection', 'box AP'),
    'segm_mAP': ('Instance Segmentation', 'mask AP'),
    'keypoints_mAP': ('Keypoint Detection', 'keypoint AP'),
    'voc_mAP': ('Object Detection', 'VOC AP'),
}


@dataclass(frozen=True)
class Run:
    """What is known of the run that wrote a checkpoint.

    Attributes:
        stem: the name of its config's file.
        data: what its data set is called.
        cfg: its config, as it is released.
        meta: what is kept of the checkpoint's meta.
        report: its metrics.json, if there is one.
    """

    stem: str
    data: str
    cfg: Config
    meta: dict[str, Any]
    report: dict[str, Any] | None


def publish(
    file: Path, out_dir: Path, name: str | None = None, allow_unfinished: bool = False
) -> list[Path]:
    """Write the release of the checkpoint ``file`` into ``out_dir`` and return its files.

    They are ``CONFIG_NAME-HASH`` and a suffix; HASH is the beginning of the ``.pth``'s SHA-256:

    - ``.py``: the run's config in one piece
    - ``.metrics.json``, ``.scalars.json``: the run's numbers and log, if they are beside ``file``
    - ``.yml``: the entry for model-index.yml
    - ``.pth``: weights and meta that ``torch.load(weights_only=True)`` reads; where EMAHook ran,
      the averaged weights, which it puts into ``state_dict`` when it saves
    - ``.safetensors``: the same again, for programs that read no pickle

    Args:
        file: The checkpoint, in the work directory of its run.
        out_dir: Folder to write into; it may hold other releases.
        name: What the data set is called; default: the folder of the training data.
        allow_unfinished: Whether the checkpoint may be another than the last one of its run, or
            the best one of a run that has ended.

    Raises:
        InputError: there is no config or no weight in ``file``, a weight is not finite, the meta
            holds other than plain types, the run has not ended, metrics.json is another run's, a
            name does not fit, ``out_dir`` holds other files of these names, or what was written
            reads back otherwise.
    """
    loaded = checkpoint.load(file)
    refuse_unfit(file, loaded)
    run = run_of(file, loaded['meta'], name)
    if not allow_unfinished:
        refuse_unfinished(file, run)
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f'{out_dir}: is a file; name a folder')

    text = run.cfg.pretty_text
    released = dict(meta=dict(cfg=text, **run.meta), state_dict=loaded['state_dict'])
    title = run.stem if run.stem.endswith(f'_{run.data}') else f'{run.stem}_{run.data}'
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=out_dir) as folder:
        # torch writes this name into the file: with a fixed one, equal weights have equal hashes
        weights = Path(folder) / 'release.pth'
        torch.save(released, weights)
        tensors = Path(folder) / 'release.safetensors'
        try:
            safetensors_file.save(released, tensors)
        except TypeError as error:
            raise InputError(
                f'{file}: its meta cannot be written as JSON ({error}); take what is no number, '
                "text, list or dict out of the dataset's metainfo"
            ) from None
        for written in (weights, tensors):
            refuse_difference(written, released, out_dir)
        release = f'{title}-{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}'
        texts = {'.py': text, '.yml': index_text(release, run)}
        if run.report:
            texts['.metrics.json'] = json.dumps(run.report, indent=2) + '\n'
        records = read_scalars(file.parent)
        if records:
            texts['.scalars.json'] = ''.join(json.dumps(record) + '\n' for record in records)
        made = {out_dir / f'{release}{suffix}': Path(folder) / suffix for suffix in texts}
        for part, content in zip(made.values(), texts.values()):
            part.write_text(content, encoding='utf-8')
        made[out_dir / f'{release}.safetensors'] = tensors
        # last: where the weights are, everything is
        made[out_dir / f'{release}.pth'] = weights
        move_together(made)
    return list(made)


def refuse_unfit(file: Path, loaded: dict[str, Any]) -> None:
    """Raise an :class:`InputError` for a checkpoint without a config, or with broken weights."""
    weights, text = loaded.get('state_dict'), loaded.get('meta', {}).get('cfg')
    is_state = isinstance(weights, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in weights.items()
    )
    for what, held in (('state_dict', is_state and weights), ('config (meta.cfg)', text)):
        if not held:
            raise InputError(f'{file}: holds no {what}; give a checkpoint of tools/train.py')
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(
            f'{file}: {len(broken)} of {len(weights)} weights hold NaN or Inf, the first is '
            f'{broken[0]}; take an earlier checkpoint'
        )


def run_of(file: Path, meta: dict[str, Any], name: str | None) -> Run:
    """What the checkpoint ``file`` and its folder say of their run.

    Raises:
        InputError: metrics.json is another run's; ``name``, or what the checkpoint says of its
            experiment, is no part of a file's name; the run counted forward passes.
    """
    # without a run of mmengine's, as after tools/import_dsod.py, there is the file's name
    stem = re.sub(r'_\d{8}_\d{6}$', '', str(meta.get('experiment_name', file.stem)))
    if not NAME.fullmatch(stem):
        raise InputError(
            f'{file}: says that it is of the experiment {stem!r}, which is no name for a file; '
            'do not use this file, unless you trust who made it'
        )
    report = report_beside(file, stem, meta.get('seed'))
    cfg = released_config(meta['cfg'], str(file))
    if (passes := (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)) > 1:
        raise InputError(
            f'{file}: its run counted forward passes, {passes} a step, and iterations here are '
            'optimizer steps; publish it with the version of mmscratch that trained it'
        )
    data = data_name(cfg) if name is None else name
    if not NAME.fullmatch(data):
        raise InputError(f'{file}: {data!r} is no name for a file; name the data set with --name')
    return Run(stem, data, cfg, {key: plain(meta[key]) for key in KEPT if key in meta}, report)


def report_beside(file: Path, stem: str, seed: int | None) -> dict[str, Any] | None:
    """The metrics.json of the run that wrote ``file``, None if there is none.

    Raises:
        InputError: the one there is of another config or seed.
    """
    metrics = file.parent / 'metrics.json'
    if not metrics.is_file():
        return None
    report = json.loads(metrics.read_text())
    config = Path(report['config']).stem
    if (config, report['seed']) != (stem, seed):
        raise InputError(
            f'{metrics}: is of a run of {config} with seed {report["seed"]}, {file.name} of {stem} '
            f'with seed {seed}; put the checkpoint back beside the metrics.json of its own run'
        )
    return report


def released_config(text: str, file: str) -> Config:
    """The config of a run for others to use: without its folder, its launcher, its resumption.

    Raises:
        InputError: the config in the checkpoint ``file`` is more than data.
    """
    cfg = checkpoint_config.read(text, file)
    checkpoint_config.refuse_foreign_types(cfg, file)
    # MMEngine writes keys as they are: one with a quote in it may end as a program
    if checkpoint_config.read(cfg.pretty_text, file).to_dict() != cfg.to_dict():
        raise InputError(
            f'{file}: MMEngine writes its config otherwise than it reads it; do not use this file, '
            'unless you trust who made it'
        )
    cfg.pop('work_dir', None)
    cfg.pop('launcher', None)
    if cfg.get('resume'):
        cfg.update(resume=False, load_from=None)
    return cfg


def data_name(cfg: Config) -> str:
    """The name of the folder of the training data, '' if the config has none."""
    roots = (node.get('data_root') for node in walk(cfg.get('train_dataloader')))
    return next((Path(root).name for root in roots if root), '')


def plain(value: Any) -> Any:
    """The same without numpy, which torch's safe loader doesn't take."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def refuse_unfinished(file: Path, run: Run) -> None:
    """Raise an :class:`InputError` for a checkpoint that its run went on from."""
    iteration, planned = run.meta.get('iter'), (run.cfg.get('train_cfg') or {}).get('max_iters')
    ended = run.report and run.report['iterations'] == planned
    best = ended and run.report['best']['iteration'] == iteration
    if iteration is None or not (iteration == planned or best):
        raise InputError(
            f'{file}: is of iteration {iteration} of {planned}; give the last checkpoint of a run, '
            'or the best one of a run that has ended, in its work directory; or, if this one is '
            'meant, --allow-unfinished'
        )


def refuse_difference(written: Path, released: dict[str, Any], out_dir: Path) -> None:
    """Raise an :class:`InputError` if the file is not what it was made of."""
    again = checkpoint.load(written)
    ours, theirs = released['state_dict'], again['state_dict']
    if (
        again['meta'] != released['meta']
        or theirs.keys() != ours.keys()  # safetensors has an order of its own
        or any(theirs[k].dtype != v.dtype or not torch.equal(theirs[k], v) for k, v in ours.items())
    ):
        raise InputError(f'{out_dir}: what was written there reads back otherwise; check the disk')


def index_text(release: str, run: Run) -> str:
    """What model-index.yml says of a model, and where its weights are, in the form MIM reads.

    Name and Config are the repository's if the weights fit its config; else, as after ``--data``
    or ``--cfg-options``, the release's own.
    """
    listed = f'{FOLDERS.get(str((run.meta.get("preflight") or {}).get("init")))}/{run.stem}'
    file = ROOT / 'configs' / f'{listed}.py'
    fits = file.is_file() and Config.fromfile(file).model == run.cfg.model
    metadata: dict[str, Any] = {'Training Data': run.data}
    if 'iter' in run.meta:
        metadata['Iterations'] = run.meta['iter']
    entry = {
        'Name': listed if fits else release.rpartition('-')[0],
        'Config': f'configs/{listed}.py' if fits else f'{release}.py',
        'Metadata': metadata,
    }
    source = {'Source': f'{release}.metrics.json'}
    results = [
        {'Task': task, 'Dataset': run.data, 'Metrics': metrics, **source}
        for task, metrics in measured(run)
    ]
    entry |= {'Results': results} if results else {}
    entry |= {'Weights': f'{release}.pth'}
    form = dict(file_format='yaml', sort_keys=False, default_flow_style=None, width=1000)
    return 'Models:\n' + textwrap.indent(mmengine.dump([entry], **form), '  ')


def measured(run: Run) -> list[tuple[str, dict[str, float]]]:
    """Task and AP in percent from the validation of these very weights."""
    history = run.report['history'] if run.report else []
    numbers = next((v for v in history if v['iteration'] == run.meta.get('iter')), {})
    modes = [node.get('eval_mode') for node in walk(run.cfg.get('val_evaluator'))]
    names = {'VOC AP': 'VOC07 AP'} if '11points' in modes else {}
    return [
        (task, {names.get(metric, metric): round(100 * numbers[key], 1)})
        for key, (task, metric) in METRICS.items()
        # COCO's -1 stands for no objects
        if numbers.get(key, -1) >= 0
    ]


def move_together(made: dict[Path, Path]) -> None:
    """Rename each file to its target, which is the key.

    Raises:
        InputError: a target is there, and another file; nothing is renamed then.
    """
    for target, part in made.items():
        if target.exists() and not filecmp.cmp(part, target, shallow=False):
            raise InputError(
                f'{target}: is there already, and another file; remove it, or name another folder'
            )
    for target, part in made.items():
        os.replace(part, target)

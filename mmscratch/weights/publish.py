"""Release a checkpoint as model zoos do: weights, config, numbers and log under one name.

MMDetection's publish_model.py keeps all of a checkpoint's meta. It cannot load a checkpoint under
torch >= 2.6, whose loader refuses the numpy objects in it.
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

from mmscratch.config import work_dir
from mmscratch.config.scalars import read_scalars
from mmscratch.config.sections import walk
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint, checkpoint_config, safetensors_file

ROOT = Path(__file__).resolve().parents[2]
# What a release keeps of a checkpoint's meta: the class names, the preflight's proof, which a run
# that begins with the release keeps as its parent, and the identity of the run.
KEPT_META = (
    *('dataset_meta', 'preflight', 'iter', 'epoch', 'seed', 'images_seen', 'pixels_seen'),
    *('experiment_name', 'time', 'mmengine_version'),
)
FILE_NAME = re.compile(r'[\w.+-]+')
# in metrics.json -> task and metric in a metafile
METAFILE = {
    'bbox_mAP': ('Object Detection', 'box AP'),
    'segm_mAP': ('Instance Segmentation', 'mask AP'),
    'keypoints_mAP': ('Keypoint Detection', 'keypoint AP'),
    'voc_mAP': ('Object Detection', 'VOC AP'),
}
# init in the proof -> folders of configs/
FOLDERS = {'random': ('scratch', 'dsod'), 'pretrained': ('pretrained',)}


@dataclass(frozen=True)
class TrainingRun:
    """The run that wrote a checkpoint.

    Attributes:
        config_name: name of the config's file, without suffix.
        data: name of the data set.
        cfg: the config, as it is released.
        meta: the part of the checkpoint's meta that is released.
        report: the run's metrics.json, if there is one.
    """

    config_name: str
    data: str
    cfg: Config
    meta: dict[str, Any]
    report: dict[str, Any] | None


def publish(
    file: Path, out_dir: Path, name: str | None = None, allow_unfinished: bool = False
) -> list[Path]:
    """Write the release of a checkpoint into ``out_dir`` and return its files.

    Each file is called ``CONFIG_NAME-HASH`` with a suffix. HASH is the beginning of the ``.pth``'s
    SHA-256:

    - ``.py``: the run's config in one piece
    - ``.metrics.json``, ``.scalars.json``: the run's numbers and log, if they are beside ``file``
    - ``.yml``: the entry for a metafile of model-index.yml
    - ``.pth``: weights and meta, for ``torch.load(weights_only=True)``. With EMAHook these are the
      averaged weights, which the hook saves as ``state_dict``.
    - ``.safetensors``: the same content, for programs that read no pickle

    Args:
        file: The checkpoint, in the work directory of its run.
        out_dir: Folder to write into; it may contain other releases.
        name: Name of the data set; default: the folder of the training data.
        allow_unfinished: Whether to accept a checkpoint that is neither the last one of its run,
            nor the best one of a run that has ended.

    Raises:
        InputError: ``file`` has no config or no weights; a weight is not finite; the meta contains
            other than plain types; the run has not ended; metrics.json is of another run; a name is
            no file name; or ``out_dir`` contains different files of these names.
    """
    work_dir.require_writable(out_dir, 'OUT_DIR')
    loaded = checkpoint.load(file)
    check_weights(file, loaded)
    run = run_of(file, loaded['meta'], name)
    if not allow_unfinished:
        check_finished(file, run)
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f'{out_dir}: is a file; name a folder')

    text = run.cfg.pretty_text
    content = dict(meta=dict(cfg=text, **run.meta), state_dict=loaded['state_dict'])
    content['meta'][checkpoint.HASH] = checkpoint.hash_of_tensors(content)
    title = run.config_name.removesuffix(f'_{run.data}') + f'_{run.data}'
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=out_dir) as folder:
        # torch writes the file's name into the file: a constant name gives equal weights one hash
        weights = Path(folder) / 'release.pth'
        torch.save(content, weights)
        release = f'{title}-{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}'
        texts = {'.py': text, '.yml': index_text(release, run)}
        if run.report:
            texts['.metrics.json'] = json.dumps(run.report, indent=2) + '\n'
        records = read_scalars(file.parent)
        if records:
            texts['.scalars.json'] = ''.join(json.dumps(record) + '\n' for record in records)
        # the .pth is the last one, so that a release with weights is complete
        parts = [Path(folder) / f'{release}{suffix}' for suffix in (*texts, '.safetensors', '.pth')]
        for part, part_text in zip(parts, texts.values()):
            part.write_text(part_text, encoding='utf-8')
        try:
            safetensors_file.save(content, parts[-2])
        except TypeError as error:
            raise InputError(
                f'{file}: its meta cannot be written as JSON ({error}); keep only numbers, texts, '
                "lists and dicts in the dataset's metainfo"
            ) from None
        weights.rename(parts[-1])
        return move_together(parts, out_dir)


def check_weights(file: Path, loaded: dict[str, Any]) -> None:
    """Raise an :class:`InputError` for a checkpoint without config, or with broken weights."""
    weights, text = loaded.get('state_dict', {}), loaded.get('meta', {}).get('cfg')
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


def run_of(file: Path, meta: dict[str, Any], name: str | None) -> TrainingRun:
    """Collect what the checkpoint ``file`` and its folder contain about their run.

    Raises:
        InputError: metrics.json is of another run; or ``name``, or the checkpoint's name of its
            experiment, is no file name.
    """
    # tools/import_dsod.py writes no experiment's name: the file's name replaces it
    stem = re.sub(r'_\d{8}_\d{6}$', '', str(meta.get('experiment_name', file.stem)))
    if not FILE_NAME.fullmatch(stem):
        raise InputError(
            f'{file}: its experiment is called {stem!r}, which is no name for a file; do not use '
            'this file, unless you trust who made it'
        )
    metrics, seed, report = file.parent / 'metrics.json', meta.get('seed'), None
    if metrics.is_file():
        try:
            report = json.loads(metrics.read_text())
            config = Path(report['config']).stem
            of_run = config, report['seed'], report['iterations'], report['best']['iteration']
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f'{metrics}: is damaged; restore it, or move it away to publish without numbers'
            ) from None
        if of_run[:2] != (stem, seed):
            raise InputError(
                f'{metrics}: is of a run of {config} with seed {report["seed"]}, {file.name} of '
                f'{stem} with seed {seed}; put the checkpoint back beside its own metrics.json'
            )
    cfg = released_config(meta['cfg'], str(file))
    if name is None:
        roots = (node.get('data_root') for node in walk(cfg.get('train_dataloader')))
        name = next((Path(root).name for root in roots if root), '')
    if not FILE_NAME.fullmatch(name):
        raise InputError(f'{file}: {name!r} is no name for a file; name the data set with --name')
    kept = {key: without_numpy(meta[key]) for key in KEPT_META if key in meta}
    return TrainingRun(stem, name, cfg, kept, report)


def released_config(text: str, file: str) -> Config:
    """Parse the config of a run, and remove its folder, its launcher and its resumption.

    Raises:
        InputError: the config in the checkpoint ``file`` is more than data.
    """
    cfg = checkpoint_config.read(text, file)
    checkpoint_config.refuse_foreign_types(cfg, file)
    # MMEngine does not escape the quotes in a key, so that a key could become a program
    if checkpoint_config.read(cfg.pretty_text, file).to_dict() != cfg.to_dict():
        raise InputError(
            f'{file}: MMEngine cannot write its config without changing it; do not use this file, '
            'unless you trust who made it'
        )
    cfg.pop('work_dir', None)
    cfg.pop('launcher', None)
    if cfg.get('resume'):
        cfg.update(resume=False, load_from=None)
    return cfg


def without_numpy(value: Any) -> Any:
    """Convert numpy objects, which torch's safe loader refuses, to plain types."""
    if isinstance(value, dict):
        return {key: without_numpy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_numpy(item) for item in value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def check_finished(file: Path, run: TrainingRun) -> None:
    """Raise an :class:`InputError` unless the checkpoint is the last, or an ended run's best."""
    iteration, planned = run.meta.get('iter'), (run.cfg.get('train_cfg') or {}).get('max_iters')
    report = run.report
    has_ended = report and report['iterations'] == planned
    is_best = report and has_ended and report['best']['iteration'] == iteration
    if iteration is None or not (iteration == planned or is_best):
        raise InputError(
            f'{file}: is of iteration {iteration} of {planned}; give the last checkpoint of a run, '
            'or the best one of a run that has ended, in its work directory; to release this one, '
            'add --allow-unfinished'
        )


def index_text(release: str, run: TrainingRun) -> str:
    """Write the entry for a metafile, in the form that MIM reads.

    Name and Config are the repository's if the weights fit its config. After ``--data`` or
    ``--cfg-options`` they may not fit; then Name and Config are the release's own.
    """
    proof = run.meta.get('preflight') or {}
    folders = FOLDERS.get(str(proof.get('init')), ())
    files = [ROOT / 'configs' / folder / f'{run.config_name}.py' for folder in folders]
    fitting = (f for f in files if f.is_file() and Config.fromfile(f).model == run.cfg.model)
    listed = next(fitting, None)
    metadata: dict[str, Any] = {'Training Data': run.data}
    if 'iter' in run.meta:
        metadata['Iterations'] = run.meta['iter']
    entry: dict[str, Any] = {
        'Name': f'{listed.parent.name}/{run.config_name}' if listed else release.rpartition('-')[0],
        'Config': str(listed.relative_to(ROOT)) if listed else f'{release}.py',
        'Metadata': metadata,
    }
    # the validation of these very weights
    history: list[dict[str, float]] = run.report['history'] if run.report else []
    numbers = next((v for v in history if v['iteration'] == run.meta.get('iter')), {})
    modes = [node.get('eval_mode') for node in walk(run.cfg.get('val_evaluator'))]
    names = {'VOC AP': 'VOC07 AP'} if '11points' in modes else {}
    results = [
        {
            'Task': task,
            'Dataset': run.data,
            'Metrics': {names.get(metric, metric): round(100 * numbers[key], 1)},
            'Source': f'{release}.metrics.json',
        }
        for key, (task, metric) in METAFILE.items()
        # COCO's -1: there are no objects
        if numbers.get(key, -1) >= 0
    ]
    entry |= {'Results': results} if results else {}
    entry |= {'Weights': f'{release}.pth'}
    form = dict(file_format='yaml', sort_keys=False, default_flow_style=None, width=1000)
    return 'Models:\n' + textwrap.indent(mmengine.dump([entry], **form), '  ')


def move_together(parts: list[Path], folder: Path) -> list[Path]:
    """Move files into a folder and return their new paths.

    Raises:
        InputError: a different file of one of the names is there; no file is moved then.
    """
    targets = [folder / part.name for part in parts]
    for target, part in zip(targets, parts):
        if target.exists() and not filecmp.cmp(part, target, shallow=False):
            raise InputError(
                f'{target}: is there already, with other content; remove it, or name another folder'
            )
    for target, part in zip(targets, parts):
        os.replace(part, target)
    return targets

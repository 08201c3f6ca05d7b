"""Check a training run before its first step, and record the result in its checkpoints."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmcv.cnn import is_norm
from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model.utils import _BatchNormXd
from mmengine.runner import Runner
from torch import nn

from mmscratch.config.sections import as_list, walk_paths
from mmscratch.data.annotation_file import (
    AnnotationFile,
    annotation_files,
    class_faults,
    few,
    first_difference,
)
from mmscratch.errors import InputError
from mmscratch.hooks.init_hook import is_pretrained, pretrained_modules
from mmscratch.loops.resumed_schedule import follow_config, optimizer_faults
from mmscratch.loops.runner_state import bare_model, batch_of, images_per_step, loaded_file
from mmscratch.loops.schedule_faults import schedule_faults
from mmscratch.weights.checkpoint import hash_of_tensors
from mmscratch.weights.initialization import describe, initialization, kind_of, link, trained_on

CHECKS = ('weights', 'frozen', 'norm_eval', 'classes', 'schedule', 'batch', 'subset', 'data')
# the sampler's options that decide how often an image is drawn
SHARES = ('repeat_threshold', 'labelled_share')
PACKAGES = ('mmscratch', 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet')


@HOOKS.register_module()
class PreflightHook(Hook):
    """Raise :class:`InputError` before the first step if a check fails; the error lists all faults.

    The checks:

    - ``weights``: the run loads weights from a checkpoint or by an ``init_cfg`` of type Pretrained;
      or it resumes a checkpoint without this hook's proof of a run from scratch. With
      ``init='pretrained'``: the run loads no weights.
    - ``frozen``: a parameter does not train. Not checked with ``init='pretrained'``. Or a run is
      resumed with ``--freeze`` that began without it, or the other way round.
    - ``norm_eval``: a norm layer is in eval mode while the model trains. Not checked with
      ``init='pretrained'``.
    - ``classes``: the class names of training data, validation data and their COCO JSON files, and
      the sizes of the heads, disagree; or a run is resumed with other names, or another order, than
      it began with
    - ``schedule``: the run never saves or never validates; a learning-rate drop never comes;
      ``save_best`` or ``monitor`` names a number that validation does not yield; or a resumed run
      had another learning rate so far, or other options of the optimizer. If they were the same,
      the run continues with the drops and the end of the present config.
    - ``batch``: a run is resumed with another number of images a step than it began with. Another
      split of them into GPUs, images per GPU and accumulation is no fault; the log states it.
    - ``subset``: a run is resumed on other images than it began with, or draws them at other
      shares (``repeat_threshold``, ``labelled_share``)
    - ``data``: a run is resumed with other annotation files than it began with. If this is allowed,
      the checkpoints' entry gets their checksums too, in ``changed_annotations``.

    The result is the entry ``preflight`` in every checkpoint's meta, in plain types: init, allowed
    checks and their faults, seed, SHA-256 of the weights at step 0, SHA-256 of the annotation
    files, the subset, GPUs and images of a step, versions. ``initialization`` says what the run
    began with (:mod:`mmscratch.weights.initialization`). ``parent`` is the entry of the
    checkpoint that ``load_from`` named. A resumed run keeps its entry.

    Args:
        init: ``'random'`` for a run from scratch, ``'pretrained'`` for one that loads weights.
        allow: Checks that may fail: their faults are logged as warnings.
        published: What is known of the training of published weights: any of ``kind``
            (``'imagenet'``), ``images_seen`` and ``pixels_seen``.

    Example:
        >>> default_hooks = dict(preflight=dict(type='PreflightHook', allow=['frozen']))
    """

    # after InitHook, which fills weights
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        init: str = 'random',
        allow: Sequence[str] = (),
        published: Mapping[str, Any] | None = None,
    ) -> None:
        if init not in ('random', 'pretrained'):
            raise InputError(f"PreflightHook: init is 'random' or 'pretrained', not {init!r}")
        unknown = [allow] if isinstance(allow, str) else sorted(set(allow) - set(CHECKS))
        if unknown:
            raise InputError(
                f'PreflightHook: allow is a list of {", ".join(CHECKS)}; got {unknown[0]!r}'
            )
        self.init = init
        self.allow = sorted(allow)
        self.published = dict(published or {})
        self._has_loaded = False
        # what initial weights were loaded by, their file, names and meta
        self._loaded: tuple[str, str | None, list[str], dict] | None = None
        self._parent: dict | None = None
        self._other_past: list[str] = []
        self._classes: list[str] = []
        self._proof: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the proof of the loaded checkpoint, and fit a resumed schedule to the config."""
        self._has_loaded = True
        self._parent = (checkpoint.get('meta') or {}).get('preflight')
        if runner._resume:
            states = checkpoint.get('param_schedulers')
            meta = (checkpoint.get('meta') or {}).get('dataset_meta')
            # several data sets have a list of them
            self._classes = list((meta.get('classes') if isinstance(meta, dict) else None) or ())
            self._other_past = follow_config(runner.param_schedulers, states)
            optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
            if optimizer is not None:
                self._other_past += [
                    f'{fault}: resume with the options of the start, or start anew'
                    for fault in optimizer_faults(
                        optimizer.param_groups, checkpoint['optimizer']['param_groups']
                    )
                ]
        else:
            names = list(checkpoint.get('state_dict', checkpoint))
            meta = checkpoint.get('meta') or {}
            self._loaded = str(runner._load_from), getattr(checkpoint, 'path', None), names, meta

    def before_train(self, runner: Runner) -> None:
        """Run the checks on rank 0; all ranks raise its error together."""
        bare_model(runner).train()
        files = list(annotation_files(runner)) if is_main_process() else []
        verdict = [self._faults(runner, files) if is_main_process() else []]
        broadcast_object_list(verdict)
        faults = verdict[0]
        refused = [f'[{check}] {text}' for check, text in faults if check not in self.allow]
        if refused:
            checks = sorted({check for check, _ in faults if check not in self.allow})
            raise InputError(
                f'preflight refuses this run (init={self.init!r}): {"; ".join(refused)} '
                f'(to run anyway: PreflightHook(allow={checks}))'
            )
        waived = [f'[{check}] {text}' for check, text in faults]
        for text in waived:
            runner.logger.warning(f'preflight: allowed to fail: {text}')
        if is_main_process():
            warn_of_reverted_sync_bn(runner)
            self._proof = self._established(runner, files, waived)
            runner.logger.info(_summary(self._proof, bare_model(runner)))
            if began := self._proof.get('initialization'):
                runner.logger.info(f'initialization: {began["arm"]}, {describe(self._proof)}')

    @property
    def proof(self) -> dict | None:
        """The checkpoints' entry; None before training, and on other ranks than 0."""
        return self._proof

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the result of the checks into the checkpoint."""
        if self._proof is not None:
            checkpoint['meta']['preflight'] = self._proof

    def _faults(self, runner: Runner, files: list[AnnotationFile]) -> list[tuple[str, str]]:
        """Run the checks and return pairs of check and fault."""
        model = bare_model(runner)
        found = {'classes': class_faults(files, model), 'schedule': schedule_faults(runner)}
        if runner.iter > 0:
            found['batch'] = self._batch_faults(runner)
            found['frozen'] = self._freezing_faults(runner)
            found['subset'] = self._subset_faults(runner)
            found['classes'] += self._class_faults(runner)
            found['data'] = self._data_faults(runner, files)
            file = loaded_file(runner)
            found['schedule'] += [f'{file}: {fault}' for fault in self._other_past]
            # another batch has another schedule too
            if found['batch']:
                del found['schedule']
        if self.init == 'random':
            found['weights'] = self._weight_faults(runner)
            found['frozen'] = [*found.get('frozen', []), *frozen_faults(model)]
            found['norm_eval'] = norm_faults(model)
        elif not self._has_loaded and not pretrained_modules(model):
            found['weights'] = ['no weights are loaded: give them with --init or load_from']
        return [(check, text) for check in CHECKS for text in found.get(check, [])]

    def _weight_faults(self, runner: Runner) -> list[str]:
        faults = []
        if runner.iter > 0:
            faults += self._resume_faults(runner)
        elif self._has_loaded:
            faults.append(f'{runner._load_from or "a checkpoint"} is loaded: remove load_from')
        modules = pretrained_modules(bare_model(runner))
        paths = {f'model.{name}.init_cfg'.replace('..', '.') for name in modules}
        paths.update(pretrained_keys(runner.cfg.get('model'), 'model'))
        return faults + [f'{path} loads weights: set it to None' for path in sorted(paths)]

    def _resume_faults(self, runner: Runner) -> list[str]:
        file, proof = loaded_file(runner), self._parent
        if not proof or proof['init'] != 'random':
            return [f'{file} carries no proof that its run started from scratch: start anew']
        extra = sorted(set(proof['allowed']) - set(self.allow))
        fault = f'{file} comes from a run with allow={proof["allowed"]}: allow {extra} here too'
        return [fault] if extra else []

    def _batch_faults(self, runner: Runner) -> list[str]:
        """Compare the images of a step with the checkpoint's; log another split of as many."""
        file, now = loaded_file(runner), batch_of(runner)
        # the oldest checkpoints have no batch
        began = (self._parent or {}).get('batch', now)
        if images_per_step(began) != images_per_step(now):
            return [
                f'{file} began with {_split(began)}, this is {_split(now)}: resume with the same '
                '--batch, on GPUs and with a train_dataloader.batch_size that divide the images of '
                'a step, or start anew'
            ]
        if _split(began) != _split(now):
            runner.logger.info(
                f'preflight: the run began with {_split(began)}, and goes on with {_split(now)}'
                + _changes(bare_model(runner), began, now)
            )
        return []

    def _freezing_faults(self, runner: Runner) -> list[str]:
        now = is_frozen(bare_model(runner))
        began = ((self._parent or {}).get('initialization') or {}).get('frozen', now)
        how = 'with a frozen backbone: resume it with --freeze'
        if now:
            how = 'without a frozen backbone: leave out --freeze'
        return [] if began == now else [f'{loaded_file(runner)} began {how}, or start anew']

    def _subset_faults(self, runner: Runner) -> list[str]:
        now = _subset(runner)
        began = (self._parent or {}).get('subset', now)
        first, second = (f'subset {s["sha256"][:12]}' if s else 'all images' for s in (began, now))
        fault = (
            f'{loaded_file(runner)} began with {first}, this is {second}: resume with the same '
            'data, subset and subset_seed, or start anew'
        )
        faults = [fault] if first != second else []
        for option in SHARES:
            share = getattr(_sampler(runner), option, None)
            if (before := (self._parent or {}).get(option, share)) != share:
                faults.append(
                    f'{loaded_file(runner)} began with {option}={before}, this has {share}: '
                    'resume with the same, or start anew'
                )
        return faults

    def _data_faults(self, runner: Runner, files: list[AnnotationFile]) -> list[str]:
        """Compare the annotation files with those of the start, or of the last allowed change."""
        parent = self._parent or {}
        states = [dict(annotations=parent.get('annotations', []))]
        began = _checksums([*states, *parent.get('changed_annotations', [])][-1]['annotations'])
        now = _checksums(_plain(files))
        changed = {key[0] for key in began.keys() & now.keys() if began[key] != now[key]}
        return [
            f'the annotations of the {split} set are not those that {loaded_file(runner)} was '
            'trained with: put the files back, or start anew'
            for split in sorted(changed)
        ]

    def _class_faults(self, runner: Runner) -> list[str]:
        """Compare the class names, in their order, with the checkpoint's."""
        now = list(getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes') or ())
        began = self._classes
        if not began or not now or began == now:
            return []
        return [
            f'{loaded_file(runner)} was trained with other classes: {first_difference(began, now)}'
            f'; give the data the names and the order of the start: {few(began)}'
        ]

    def _established(self, runner: Runner, files: list[AnnotationFile], waived: list[str]) -> dict:
        """Collect the checkpoints' entry; a resumed run keeps the one of its checkpoint."""
        if runner.iter > 0 and self._parent is not None:
            if not self._data_faults(runner, files):
                return self._parent
            change = dict(iteration=runner.iter, annotations=_plain(files))
            changes = [*self._parent.get('changed_annotations', []), change]
            return {**self._parent, 'changed_annotations': changes}
        weights = bare_model(runner).state_dict()
        proof = dict(
            init=self.init,
            allowed=self.allow,
            waived=waived,
            seed=int(runner.seed),
            initial_weights_sha256=None if runner.iter > 0 else hash_of_tensors(weights),
            annotations=_plain(files),
            subset=_subset(runner),
            **{option: getattr(_sampler(runner), option, None) for option in SHARES},
            batch=batch_of(runner),
            versions={name: str(import_module(name).__version__) for name in PACKAGES},
            resolution_factor=runner.cfg.get('resolution_factor', 1.0),
            parent=self._parent,
        )
        if runner.iter > 0:  # the checkpoint has no proof, and how its run began is not known
            return proof
        model = bare_model(runner)
        weights, teacher = self._weights(model, proof), _teacher(runner)
        return {**proof, 'initialization': initialization(weights, is_frozen(model), teacher)}

    def _weights(self, model: nn.Module, proof: dict) -> dict | None:
        """Describe the file of the initial weights."""
        loaded = self._loaded
        for name in [] if loaded else pretrained_modules(model):
            configs = as_list(model.get_submodule(name).init_cfg)
            source = next(c['checkpoint'] for c in configs if is_pretrained(c))
            loaded = source, source, [], {}
        if loaded is None:
            return None
        source, file, names, meta = loaded
        kind = kind_of(source, names, meta.get('preflight') or {}, trained_on(proof))
        return link(kind, source, Path(file) if file else None, meta) | self.published


def frozen_faults(model: nn.Module) -> list[str]:
    """Find frozen parameters, which keep their random values."""
    parameters = dict(model.named_parameters())
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    fault = (
        f'{len(frozen)} of {len(parameters)} parameters are random and frozen ({few(frozen)}): '
        'set frozen_stages=-1 in model.backbone'
    )
    return [fault] if frozen else []


def is_frozen(model: nn.Module) -> bool:
    """Whether no parameter of the backbone is trained."""
    backbone = getattr(model, 'backbone', None)
    return backbone is not None and not any(p.requires_grad for p in backbone.parameters())


def norm_faults(model: nn.Module) -> list[str]:
    """Find norm layers in eval mode in a model that is in train mode.

    MMDetection's base configs set ``norm_eval=True``. Measured with MMDetection 3.3.0, this puts
    all 53 SyncBN layers of a ResNet-50 in eval mode, and does not change GN.
    """
    norms = norm_layers(model)
    in_eval = [name for name, module in norms.items() if not module.training]
    fault = (
        f'{len(in_eval)} of {len(norms)} norm layers are in eval mode in training and would use '
        f'their initial statistics ({few(in_eval)}): set norm_eval=False in model.backbone'
    )
    return [fault] if in_eval else []


def norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Find norm layers by name; mmcv's SyncBatchNorm does not inherit from torch's."""
    return {
        name: module
        for name, module in model.named_modules()
        if is_norm(module) or 'BatchNorm' in type(module).__name__
    }


def pretrained_keys(cfg: Any, path: str) -> Iterator[str]:
    """Find the paths of the config keys that load weights into a part of the model."""
    for place, section in walk_paths(cfg, path):
        if is_pretrained(section):
            yield re.sub(r'\.\d+$', '', place)  # init_cfg may be a list
        if section.get('pretrained'):
            yield f'{place}.pretrained'


def warn_of_reverted_sync_bn(runner: Runner) -> None:
    """Warn that SyncBN runs as BN: MMEngine replaces it without a distributed launch."""
    reverted = [m for m in bare_model(runner).modules() if isinstance(m, _BatchNormXd)]
    if reverted:
        batch = getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)
        runner.logger.warning(
            f'preflight: {len(reverted)} SyncBN layers run as plain BN, since the launch is not '
            f'distributed: their statistics are those of the {batch} images of this device'
        )


def _plain(files: list[AnnotationFile]) -> list[dict[str, str | None]]:
    return [
        dict(split=file.split, file=file.file, sha256=file.sha256)
        | (dict(xml_sha256=file.xml_sha256) if file.xml_sha256 else {})
        for file in files
    ]


def _checksums(annotations: list[dict]) -> dict[tuple[str, str], list[str]]:
    """Of each split and kind; the images of a pre-training have none."""
    sums: dict[tuple[str, str], list[str]] = {}
    for annotation in annotations:
        # older checkpoints have no sum of XML files
        for kind in ('sha256', 'xml_sha256'):
            if annotation.get(kind):
                sums.setdefault((annotation.get('split', ''), kind), []).append(annotation[kind])
    return sums


def _sampler(runner: Runner) -> Any:
    loader = runner.train_dataloader
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def _subset(runner: Runner) -> dict | None:
    """Describe the sampler's subset; None if all images take part."""
    subset = getattr(_sampler(runner), 'subset', None)
    if subset is None or subset.sha256 is None:
        return None
    return dict(sha256=subset.sha256, size=len(subset.indices), seed=subset.seed)


def _teacher(runner: Runner) -> dict | None:
    """The teacher of the pseudo labels, as tools/data/pseudo_labels.py has written it."""
    file = getattr(_sampler(runner), 'labelled', None) or ''
    # other files of ids tell of no teacher
    content = json.loads(Path(file).read_text()) if file.endswith('.json') else None
    return content.get('teacher') if isinstance(content, dict) else None


def _split(batch: dict) -> str:
    return (
        f'{images_per_step(batch)} images a step = {batch["gpus"]} GPUs x '
        f'{batch["images_per_gpu"]} images x {batch["accumulation"]} passes'
    )


def _changes(model: nn.Module, began: dict, now: dict) -> str:
    """Say what differs if a step's images are the same and their split is another."""
    changes = ''
    if began['images_per_gpu'] != now['images_per_gpu']:
        changes += '; the batches are others, and so are their padding and random numbers'
    norms = [norm for norm in norm_layers(model).values() if 'BatchNorm' in type(norm).__name__]
    is_sync = any(isinstance(n, _BatchNormXd) or 'Sync' in type(n).__name__ for n in norms)
    before, after = (b['images_per_gpu'] * (b['gpus'] if is_sync else 1) for b in (began, now))
    if before != after and any(norm.training for norm in norms):
        changes += f'; {len(norms)} BN layers take statistics of {after} images, not of {before}'
    return changes


def _summary(proof: dict, model: nn.Module) -> str:
    parameters = list(model.parameters())
    norms = norm_layers(model).values()
    trained = sum(parameter.requires_grad for parameter in parameters)
    return (
        f'preflight passed: init {proof["init"]}, seed {proof["seed"]}; {trained} of '
        f'{len(parameters)} parameters train; {sum(norm.training for norm in norms)} of '
        f'{len(norms)} norm layers in train mode; SHA-256 of the initial weights '
        f'{proof["initial_weights_sha256"]}, of the annotations '
        + ', '.join(f'{a["split"]} {str(a["sha256"])[:12]}' for a in proof['annotations'])
        + (f'; subset {proof["subset"]}' if proof['subset'] else '')
    )

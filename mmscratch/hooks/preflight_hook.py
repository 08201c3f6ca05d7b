"""Refuse a training run whose config defeats its purpose, and write down what was established."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import torch
from mmcv.cnn import is_norm
from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model.utils import _BatchNormXd
from mmengine.runner import Runner
from torch import nn

from mmscratch.data.annotation_file import AnnotationFile, annotation_files, class_faults, few
from mmscratch.errors import InputError
from mmscratch.hooks.init_hook import is_pretrained, pretrained_modules
from mmscratch.hooks.resumed_schedule import follow_config
from mmscratch.hooks.runner_state import bare_model, loaded_file
from mmscratch.hooks.schedule_faults import schedule_faults

CHECKS = ('weights', 'frozen', 'norm_eval', 'classes', 'schedule', 'batch', 'subset')
PACKAGES = ('mmscratch', 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet')


@HOOKS.register_module()
class PreflightHook(Hook):
    """Raise :class:`InputError` before the first step if a check finds a fault; name all faults.

    The checks:

    - ``weights``: a checkpoint or an ``init_cfg`` of type Pretrained is loaded; a run is resumed
      from a checkpoint without this hook's proof of a scratch run; for ``init='pretrained'`` the
      contrary, that nothing is loaded
    - ``frozen``: a parameter that does not train
    - ``norm_eval``: a norm layer that is in eval mode while the model trains
    - ``classes``: class names of the train and val config, class names of the COCO JSON, and the
      sizes of the heads disagree
    - ``schedule``: the run would never save or never validate, or a learning-rate drop never comes;
      ``save_best`` or ``monitor`` names a number that validation does not yield; or a run is
      resumed whose learning rate was another one up to there; if it was the same, it goes on with
      the drops and the end of the config
    - ``batch``: a run is resumed with other GPUs, images per GPU or accumulation than it began with
    - ``subset``: a run is resumed on other images than it began with

    A run with ``init='pretrained'`` is not checked for ``frozen`` and ``norm_eval``, and its
    ``weights`` check only asks that something is loaded.

    The result is the ``preflight`` entry of every checkpoint's meta, in plain types: init, allowed
    checks and the faults that were waived, seed, SHA-256 of the weights at step 0, SHA-256 of the
    annotation files, the subset, GPUs and images of a step, versions. ``parent`` is the entry of
    the checkpoint that ``load_from`` named. A resumed run keeps the entry as it was.

    Args:
        init: ``'random'`` for a run from scratch, ``'pretrained'`` for one that loads weights.
        allow: Checks that may fail: their faults are logged as warnings.
    """

    # after InitHook, which fills weights
    priority = 'ABOVE_NORMAL'

    def __init__(self, init: str = 'random', allow: Sequence[str] = ()) -> None:
        if init not in ('random', 'pretrained'):
            raise InputError(f"PreflightHook: init is 'random' or 'pretrained', not {init!r}")
        unknown = (
            [allow] if isinstance(allow, str) else [name for name in allow if name not in CHECKS]
        )
        if unknown:
            raise InputError(
                f'PreflightHook: allow is a list of {", ".join(CHECKS)}; got {unknown[0]!r}'
            )
        self.init = init
        self.allow = sorted(allow)
        self._loaded_meta: dict | None = None
        self._other_past: list[str] = []
        self._proof: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember that weights are loaded, and what their checkpoint says of itself."""
        self._loaded_meta = checkpoint.get('meta') or {}
        if runner._resume:
            states = checkpoint.get('param_schedulers')
            self._other_past = follow_config(runner.param_schedulers, states)

    def before_train(self, runner: Runner) -> None:
        """Check; all ranks raise together, on rank 0's verdict."""
        bare_model(runner).train()
        files = list(annotation_files(runner)) if is_main_process() else []
        verdict = [self._faults(runner, files) if is_main_process() else None]
        broadcast_object_list(verdict)
        faults = verdict[0]
        refused = [f'[{check}] {text}' for check, text in faults if check not in self.allow]
        if refused:
            checks = sorted({check for check, _ in faults if check not in self.allow})
            raise InputError(
                f'preflight refuses this run (init={self.init!r}): {"; ".join(refused)} '
                f'(if it is meant: PreflightHook(allow={checks}))'
            )
        for check, text in faults:
            runner.logger.warning(f'preflight: allowed to fail: [{check}] {text}')
        if is_main_process():
            warn_of_reverted_sync_bn(runner)
            self._proof = self._established(runner, files, [f'[{c}] {text}' for c, text in faults])
            runner.logger.info(_summary(self._proof, bare_model(runner)))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write what was established into the checkpoint."""
        if self._proof is not None:
            checkpoint['meta']['preflight'] = self._proof

    def _faults(self, runner: Runner, files: list[AnnotationFile]) -> list[tuple[str, str]]:
        """Run the checks; return pairs of check and fault."""
        found = {
            'classes': class_faults(files, bare_model(runner)),
            'schedule': schedule_faults(runner),
            'batch': self._batch_faults(runner),
            'subset': self._subset_faults(runner),
        }
        # schedules count passes, so that another batch has another schedule too
        if self._other_past and not found['batch']:
            file = loaded_file(runner)
            found['schedule'] += [f'{file}: {fault}' for fault in self._other_past]
        if self.init == 'random':
            found['weights'] = self._weight_faults(runner)
            found['frozen'] = frozen_faults(bare_model(runner))
            found['norm_eval'] = norm_faults(bare_model(runner))
        elif self._loaded_meta is None and not pretrained_modules(bare_model(runner)):
            found['weights'] = ['no weights are loaded: give them with --init or load_from']
        return [(check, text) for check in CHECKS for text in found.get(check, [])]

    def _weight_faults(self, runner: Runner) -> list[str]:
        faults = []
        if runner.iter > 0:
            faults += self._resume_faults(runner)
        elif self._loaded_meta is not None:
            faults.append(f'{runner._load_from or "a checkpoint"} is loaded: remove load_from')
        paths = {
            f'model.{name}.init_cfg'.replace('..', '.')
            for name in pretrained_modules(bare_model(runner))
        }
        paths.update(pretrained_keys(runner.cfg.get('model'), 'model'))
        return faults + [f'{path} loads weights: set it to None' for path in sorted(paths)]

    def _resume_faults(self, runner: Runner) -> list[str]:
        proof = (self._loaded_meta or {}).get('preflight')
        file = loaded_file(runner)
        if not proof or proof['init'] != 'random':
            return [f'{file} carries no proof that its run started from scratch: start anew']
        extra = sorted(set(proof['allowed']) - set(self.allow))
        if extra:
            return [
                f'{file} comes from a run with allow={proof["allowed"]}: allow {extra} here too'
            ]
        return []

    def _batch_faults(self, runner: Runner) -> list[str]:
        """Compare with the checkpoint, whose state counts iterations: forward passes."""
        loaded = (self._loaded_meta or {}).get('preflight') or {}
        now = _batch(runner)
        # older checkpoints don't tell
        began = loaded.get('batch', now)
        if runner.iter == 0 or began == now:
            return []
        file = loaded_file(runner)
        return [
            f'{file} began with {_product(began)}, this is {_product(now)}, and its schedule '
            'counts forward passes: resume on as many GPUs with the same --batch and '
            'train_dataloader.batch_size, or start anew'
        ]

    def _subset_faults(self, runner: Runner) -> list[str]:
        loaded = (self._loaded_meta or {}).get('preflight') or {}
        now = _subset(runner)
        began = loaded.get('subset', now)
        if runner.iter == 0 or (began and began['sha256']) == (now and now['sha256']):
            return []
        file = loaded_file(runner)
        return [
            f'{file} began with {_images(began)}, this is {_images(now)}: resume with the same '
            'data, subset and subset_seed, or start anew'
        ]

    def _established(self, runner: Runner, files: list[AnnotationFile], waived: list[str]) -> dict:
        """Collect the checkpoint entry; a resumed run carries on the one of its checkpoint."""
        loaded = (self._loaded_meta or {}).get('preflight')
        annotations = [dict(split=f.split, file=f.file, sha256=f.sha256) for f in files]
        if runner.iter > 0 and loaded is not None:
            if [a['sha256'] for a in annotations] != [a['sha256'] for a in loaded['annotations']]:
                runner.logger.warning(
                    'preflight: the annotation files are not those the run started with; its '
                    'checkpoints keep the checksums of the start'
                )
            return loaded
        return dict(
            init=self.init,
            allowed=self.allow,
            waived=waived,
            seed=int(runner.seed),
            initial_weights_sha256=None if runner.iter > 0 else hash_of_weights(bare_model(runner)),
            annotations=annotations,
            subset=_subset(runner),
            batch=_batch(runner),
            versions={name: str(import_module(name).__version__) for name in PACKAGES},
            parent=loaded,
        )


def frozen_faults(model: nn.Module) -> list[str]:
    """Find parameters that are random and stay so."""
    parameters = list(model.named_parameters())
    frozen = [name for name, parameter in parameters if not parameter.requires_grad]
    if not frozen:
        return []
    return [
        f'{len(frozen)} of {len(parameters)} parameters are random and frozen ({few(frozen)}): '
        'set frozen_stages=-1 in model.backbone'
    ]


def norm_faults(model: nn.Module) -> list[str]:
    """Find norm layers in eval mode in a model that is in train mode.

    The trap, measured with MMDetection 3.3.0: ``norm_eval=True``, which its base configs set,
    leaves 0 of the 53 SyncBN layers of a ResNet-50 in train mode; GN it does not touch.
    """
    norms = norm_layers(model)
    still = [name for name, module in norms.items() if not module.training]
    if not still:
        return []
    return [
        f'{len(still)} of {len(norms)} norm layers are in eval mode in training and would use '
        f'their initial statistics ({few(still)}): set norm_eval=False in model.backbone'
    ]


def norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Norm layers by name; mmcv's own SyncBatchNorm, no child of torch's, is known by its name."""
    return {
        name: module
        for name, module in model.named_modules()
        if is_norm(module) or 'BatchNorm' in type(module).__name__
    }


def pretrained_keys(cfg: Any, path: str) -> Iterator[str]:
    """Paths of the config keys that load weights into a part of the model."""
    if isinstance(cfg, dict):
        if is_pretrained(cfg):
            yield path
        for key, value in cfg.items():
            if key == 'pretrained' and value:
                yield f'{path}.{key}'
            yield from pretrained_keys(value, f'{path}.{key}')
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            yield from pretrained_keys(value, path)


def warn_of_reverted_sync_bn(runner: Runner) -> None:
    """Say what SyncBN became: without a distributed launch mmengine puts plain BN in its place."""
    reverted = [m for m in bare_model(runner).modules() if isinstance(m, _BatchNormXd)]
    if reverted:
        batch = getattr(runner.train_dataloader.batch_sampler, 'batch_size', None)
        runner.logger.warning(
            f'preflight: {len(reverted)} SyncBN layers run as plain BN, since the launch is not '
            f'distributed: their statistics come from the {batch} images of this device'
        )


def hash_of_weights(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        # as bytes, since numpy has no bfloat16
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _subset(runner: Runner) -> dict | None:
    """Return what the sampler says of its subset; None if all images take part."""
    loader = runner.train_dataloader
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if getattr(sampler, 'subset_sha256', None) is None:
        return None
    return dict(
        sha256=sampler.subset_sha256, size=int(sampler.subset_size), seed=sampler.subset_seed
    )


def _images(subset: dict | None) -> str:
    return f'subset {subset["sha256"][:12]}' if subset else 'all images'


def _batch(runner: Runner) -> dict:
    """What an iteration is: processes, images of each, and iterations of an optimizer step."""
    return dict(
        gpus=runner.world_size,
        images_per_gpu=getattr(runner.train_dataloader.batch_sampler, 'batch_size', None),
        accumulation=getattr(runner.optim_wrapper, '_accumulative_counts', 1),
    )


def _product(batch: dict) -> str:
    return (
        f'{batch["gpus"]} GPUs x {batch["images_per_gpu"]} images x {batch["accumulation"]} passes '
        'a step'
    )


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

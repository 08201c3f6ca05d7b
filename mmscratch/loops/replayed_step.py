"""Take a training step again that broke, and look for where it began."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.runner import autocast
from torch import Tensor, nn

from mmscratch.data.seeded_dataset import derive_seed
from mmscratch.errors import InputError
from mmscratch.loops import bad_step
from mmscratch.process import cpu_threads
from mmscratch.weights import checkpoint_config
from mmscratch.weights.matched_weights import matched_weights


class ReplayedStep:
    """The step in a ``bad_step.pt``, in one process.

    On the same kind of machine, with the same versions, the losses are the same to the last bit.
    Not so if the loss of a process depends on images of others, as with SyncBN and in heads that
    count the objects of all processes. Of the hooks only ``FrozenBackboneHook`` is at work.

    Args:
        file: what :class:`mmscratch.hooks.FiniteLossHook` has written. Its config is read as data.
        device: where to compute.

    Raises:
        InputError: the file is damaged, is something else, or its model cannot be built.
    """

    def __init__(self, file: Path, device: str) -> None:
        content = bad_step.load(file)
        self.step = content['bad_step']
        for batch in self.step['batches']:
            if not isinstance(batch, dict) or not {'inputs', 'data_samples'} <= batch.keys():
                raise InputError(f'{file}: is no step of a detector, which alone can be replayed')
        cfg = checkpoint_config.config_of(content, str(file))
        if not isinstance(cfg.get('model'), dict):
            raise InputError(f'{file}: its config has no model; do not use this file')
        checkpoint_config.refuse_foreign_types(dict(model=cfg.model), str(file), buildable=True)
        cfg.model.pop('pretrained', None)
        with checkpoint_config.no_imports():
            self.model: Any = revert_sync_batchnorm(MODELS.build(cfg.model))
        weights = matched_weights(content, self.model, str(file), 'its config', complete=True)
        self.model.load_state_dict(weights.weights, strict=False)
        self.model.to(device).train()
        if 'frozen_backbone' in (cfg.get('default_hooks') or {}):
            self.model.backbone.requires_grad_(False).eval()
        wrapper = cfg.get('optim_wrapper') or {}
        self.amp: Any = contextlib.nullcontext
        if wrapper.get('type') == 'AmpOptimWrapper':
            # None: the device's own
            self.amp = partial(autocast, dtype=getattr(torch, wrapper.get('dtype') or '', None))
        torch.set_num_threads(max(1, min(self.step['threads'], cpu_threads.cores())))

    def lines(self) -> Iterator[str]:
        """Yield what the step has lost then and now, and where that began."""
        passes = list(self._passes())
        results = [self.take(batch, number) for number, batch in passes]
        then = self.step['losses']
        now = {
            name: torch.stack([losses[name] for losses, _ in results]).mean(0).item()
            for name in then
        }
        yield f'iteration {self.step["iteration"] + 1:,}, {_count(len(passes), "batch", "es")}'
        for name, value in then.items():
            is_same = value == now[name] or (math.isnan(value) and math.isnan(now[name]))
            yield (
                f'{name}: {value:.9g} then, {now[name]:.9g} now'
                f'{", the same to the last bit" if is_same else ""}'
            )
        broken = [one for one, (_, first) in zip(passes, results) if first]
        if not broken:
            yield 'nothing breaks here: another kind of machine, or other versions?'
        for number, batch in broken:
            yield f'first not finite: {self.take(batch, number)[1]}'
            yield from self._images(batch, number)

    def _passes(self) -> Iterator[tuple[int, dict[str, list]]]:
        """The number of each batch in the run's sequence, and the batch."""
        accumulation, processes = max(1, self.step['accumulation']), len(self.step['batches'])
        for rank, batch in enumerate(self.step['batches']):
            size = len(batch['inputs']) // accumulation
            for index in range(accumulation):
                number = (self.step['iteration'] * accumulation + index) * processes + rank
                part = slice(index * size, (index + 1) * size)
                yield number, {key: values[part] for key, values in batch.items()}

    def take(self, batch: dict[str, list], number: int) -> tuple[dict[str, Tensor], str]:
        """Compute the losses of a batch and their gradients.

        Returns:
            The losses by name, and what was not finite first; empty if all was.
        """
        found: list[str] = []
        handles: list[Any] = []
        for name, module in self.model.named_modules():
            handles.append(module.register_forward_hook(partial(_look_at_output, found, name)))
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                look = partial(_look_at_gradient, found, name)
                handles.append(weight.register_post_accumulate_grad_hook(look))
        self.model.zero_grad()
        torch.manual_seed(derive_seed(self.step['seed'], number))
        try:
            with self.amp():
                data = self.model.data_preprocessor(batch, True)
                total, losses = self.model.parse_losses(self.model(**data, mode='loss'))
            broken = [name for name, value in losses.items() if not value.isfinite().all()]
            found += [f'{broken[0]}, where all outputs of layers are finite'] if broken else []
            total.backward()
        finally:
            for handle in handles:
                handle.remove()
        return losses, next(iter(found), '')

    def _images(self, batch: dict[str, list], number: int) -> Iterator[str]:
        """Take each image alone, and each box of an image that breaks alone."""
        is_any = False
        for index, sample in enumerate(batch.get('data_samples', ())):
            alone = {key: values[index : index + 1] for key, values in batch.items()}
            losses, first = self.take(alone, number)
            if not first:
                continue
            is_any = True
            name = Path(str(sample.get('img_path'))).name
            broken = [name for name, value in losses.items() if not value.isfinite().all()]
            yield f'{name} alone breaks {" and ".join(broken) or "the gradient"}'
            yield from self._boxes(alone, number)
        if not is_any:
            yield 'no image breaks alone'

    def _boxes(self, alone: dict[str, list], number: int) -> Iterator[str]:
        (sample,) = alone['data_samples']
        boxes = sample.get('gt_instances', ())
        guilty = []
        for index in range(len(boxes)):
            changed = sample.clone()
            changed.gt_instances = boxes[index : index + 1]
            if self.take({**alone, 'data_samples': [changed]}, number)[1]:
                guilty.append(index)
        if guilty and len(guilty) == len(boxes):
            yield f'  with each of its {_count(len(boxes), "box", "es")} alone'
            return
        for index in guilty:
            values = torch.as_tensor(getattr(boxes.bboxes, 'tensor', boxes.bboxes))[index]
            corners = ', '.join(f'{value:g}' for value in values.tolist())
            yield f'  with box {index + 1} of {len(boxes)} alone: x1, y1, x2, y2 = {corners}'


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value.detach()
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _is_finite(value: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _tensors(value))


def _largest(value: Any) -> str:
    return f'{max((t.abs().max().item() for t in _tensors(value)), default=0.0):.3g}'


def _look_at_output(found: list[str], name: str, module: nn.Module, args: Any, output: Any) -> None:
    if found or _is_finite(output):
        return
    text = f'the output of {name or "the model"} ({type(module).__name__})'
    inputs = f'up to {_largest(args)}' if _is_finite(args) else 'not finite'
    own = list(module.parameters(recurse=False))
    weights = f', its weights {"up to " + _largest(own) if _is_finite(own) else "not finite"}'
    found.append(f'{text}; its inputs are {inputs}{weights if own else ""}')


def _look_at_gradient(found: list[str], name: str, weight: Tensor) -> None:
    if not found and not _is_finite(weight.grad):
        found.append(f'the gradient of {name}, where all losses are finite')


def _count(number: int, what: str, plural: str) -> str:
    return f'{number:,} {what}{plural if number != 1 else ""}'

"""Initialize weights by module pattern, and record the scale of each layer at step 0."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn import is_norm
from mmdet.registry import HOOKS
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmscratch.config.sections import as_list, type_name
from mmscratch.errors import InputError
from mmscratch.loops.runner_state import bare_model

FILLS = ('msra', 'xavier', 'gaussian')
MEASURED = (
    'Activations: all outputs of a layer in the first iteration on rank 0. Gradients: RMS over the '
    "weight's gradient of the loss on rank 0's images, before averaging over ranks and clipping, "
    'without loss scaling and without the division for accumulation.'
)


@HOOKS.register_module()
class InitHook(Hook):
    r"""Initialize layers whose names match a pattern, and record each layer's scale at step 0.

    The fills are Caffe2's (``caffe2/operators/filler_op.h``), as Detectron uses them:

    - ``msra``: normal, std sqrt(2 / fan_out) (He et al., ICCV 2015, eq. 14)
    - ``xavier``: uniform in +-sqrt(3 / fan_in), i.e. std sqrt(1 / fan_in)
    - ``gaussian``: normal, with the ``std`` of the rule (Detectron's RPN: 0.01)

    Biases become 0. The hook fills convolutions (transposed too) and linear layers, never norm
    layers. A layer keeps its weight if the weight comes from ``load_from`` or from a ``Pretrained``
    init_cfg. A resumed run is not changed. A layer's values depend only on the run's seed and the
    layer's name, not on device, rank, or the rest of the model.

    With ``stats``, the hook measures the first iteration. It logs a table of the convolutions and
    linear layers, and writes ``init_stats.json``, which contains the norm layers too, to the work
    directory.

    Args:
        rules: Dicts of ``pattern`` (a regular expression, searched in the module's name), ``fill``
            and, for gaussian, ``std``. The first rule that matches a layer fills it.
        stats: Whether to measure.

    Raises:
        InputError: a rule is malformed, or fills no layer.

    Example:
        >>> rules = [dict(pattern='rpn_head', fill='gaussian', std=0.01),
        ...          dict(pattern='^backbone', fill='msra')]
        >>> default_hooks = dict(init=dict(type='InitHook', rules=rules))
    """

    # before PreflightHook, which hashes the weights
    priority = 'HIGH'

    def __init__(self, rules: Sequence[dict] = (), stats: bool = True) -> None:
        self.rules = [_checked(rule) for rule in rules]
        self.stats = stats
        self._loaded: dict[str, torch.Size] = {}
        self._fill_of: dict[str, str] = {}
        self._rows: list[dict] = []
        self._handles: list = []
        self._is_measuring = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the names and shapes of the loaded weights."""
        state = checkpoint.get('state_dict', checkpoint)
        self._loaded = {
            re.sub(r'^module\.', '', name): value.shape
            for name, value in state.items()
            if isinstance(value, Tensor)
        }

    def before_train(self, runner: Runner) -> None:
        """Fill the weights, unless the run is resumed."""
        if runner.iter > 0:
            return
        self._is_measuring = self.stats and is_main_process()
        layers = {
            name: module
            for name, module in bare_model(runner).named_modules()
            if isinstance(module, (_ConvNd, nn.Linear))
        }
        loaded = self._loaded_layers(runner, layers)
        assigned: set[str] = set()
        for rule in self.rules:
            matches = [name for name in layers if re.search(rule['pattern'], name)]
            own = [name for name in matches if name not in assigned]
            if not own:
                raise InputError(_unmatched(rule, matches, list(layers)))
            assigned.update(own)
            to_fill = [name for name in own if name not in loaded]
            for name in to_fill:
                digest = hashlib.sha256(f'{runner.seed}/{name}'.encode()).digest()
                # the CPU generator takes 32 bits of a seed
                seed = int.from_bytes(digest[:4], 'big')
                fill(layers[name], rule, torch.Generator().manual_seed(seed))
                self._fill_of[name] = rule['fill']
            runner.logger.info(
                f'InitHook: {rule["fill"]} fill of {len(to_fill)} layers for '
                f'{rule["pattern"]!r}, {len(own) - len(to_fill)} keep loaded weights'
            )

    def _loaded_layers(self, runner: Runner, layers: dict[str, nn.Module]) -> set[str]:
        """Find the names of the layers whose weights are loaded."""
        prefixes = tuple(name and f'{name}.' for name in pretrained_modules(bare_model(runner)))
        return {
            name
            for name, layer in layers.items()
            if f'{name}.'.startswith(prefixes)
            or self._loaded.get(f'{name}.weight') == layer.weight.shape
        }

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Start measuring in the first iteration."""
        if not self._is_measuring:
            return
        wrapper = runner.optim_wrapper
        factor = wrapper.loss_scaler.get_scale() if hasattr(wrapper, 'loss_scaler') else 1.0
        for name, module in bare_model(runner).named_modules():
            if not isinstance(module, (_ConvNd, nn.Linear)) and not is_norm(module):
                continue
            row = _row(name, module, self._fill_of.get(name))
            self._rows.append(row)
            self._handles.append(module.register_forward_hook(partial(_add_activation, row)))
            weight = module.weight
            if weight is not None and weight.requires_grad:
                hook = partial(_set_gradient, row, factor)
                self._handles.append(weight.register_post_accumulate_grad_hook(hook))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write the measurements of the first iteration, and stop measuring."""
        if not self._is_measuring:
            return
        self._is_measuring = False
        for handle in self._handles:
            handle.remove()
        rows = [_finished(row) for row in self._rows]
        runner.logger.info(_table(rows))
        file = Path(runner.work_dir) / 'init_stats.json'
        stats = dict(seed=int(runner.seed), measured=MEASURED, layers=rows)
        file.write_text(json.dumps(stats, indent=1) + '\n')


def fans(layer: _ConvNd | nn.Linear) -> tuple[int, int]:
    """Return fan-in and fan-out: the weights that lead to one output and that leave one input.

    For ordinary convolutions and linear layers these are Caffe2's numbers, size / shape[0] and
    size / shape[1]. For transposed and grouped convolutions Caffe2's numbers have another meaning,
    so these differ. Stride is not divided out.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    size = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * size, layer.out_channels // layer.groups * size


@torch.no_grad()
def fill(layer: _ConvNd | nn.Linear, rule: dict, generator: torch.Generator) -> None:
    """Fill a layer's weight by a rule and its bias with 0, the same on every rank."""
    fan_in, fan_out = fans(layer)
    # the CPU draws the same numbers for every device
    values = torch.empty(layer.weight.shape)
    if rule['fill'] == 'xavier':
        bound = math.sqrt(3 / fan_in)
        values.uniform_(-bound, bound, generator=generator)
    else:
        std = math.sqrt(2 / fan_out) if rule['fill'] == 'msra' else rule['std']
        values.normal_(0, std, generator=generator)
    layer.weight.copy_(values)
    # DistributedDataParallel has broadcast its weights before, and ranks with diff_rank_seed draw
    # different ones
    broadcast(layer.weight.data)
    if layer.bias is not None:
        layer.bias.zero_()


def pretrained_modules(model: nn.Module) -> list[str]:
    """Find the modules whose init_cfg is of type Pretrained; '' is the model itself."""
    return [
        name
        for name, module in model.named_modules()
        if any(map(is_pretrained, as_list(getattr(module, 'init_cfg', None))))
    ]


def is_pretrained(init_cfg: dict) -> bool:
    """Whether a config is of MMEngine's initializer that loads a checkpoint."""
    return type_name(init_cfg) in ('Pretrained', 'PretrainedInit')


def _checked(rule: dict) -> dict:
    """Return the rule, or raise an :class:`InputError` with its fault."""
    where = f'InitHook rule {dict(rule)}'
    wanted = {'pattern', 'fill'} | ({'std'} if rule.get('fill') == 'gaussian' else set())
    if rule.get('fill') not in FILLS:
        raise InputError(f'{where}: fill is one of {", ".join(FILLS)}')
    if set(rule) != wanted:
        raise InputError(f'{where}: the keys of a {rule["fill"]} rule are {sorted(wanted)}')
    if 'std' in rule and not rule['std'] > 0:
        raise InputError(f'{where}: std must be above 0')
    try:
        re.compile(rule['pattern'])
    except re.error as error:
        raise InputError(f'{where}: pattern is no regular expression: {error}') from error
    return rule


def _unmatched(rule: dict, matches: list[str], layers: list[str]) -> str:
    """Explain why a rule fills no layer."""
    where = f'InitHook rule with pattern {rule["pattern"]!r}'
    if matches:
        return f'{where}: earlier rules take all {len(matches)} layers it matches; put it first'
    nearest = difflib.get_close_matches(rule['pattern'], layers, n=3, cutoff=0)
    return f'{where} matches no convolution or linear layer; nearest: {", ".join(nearest)}'


def _row(name: str, module: nn.Module, filled: str | None) -> dict:
    """Start a row with what is known before the first forward pass."""
    weight = None if module.weight is None else module.weight.detach().float()
    fan_in, fan_out = (None, None) if is_norm(module) else fans(module)
    return dict(
        module=name,
        type=type(module).__name__,
        fan_in=fan_in,
        fan_out=fan_out,
        fill=filled,
        weight_mean=None if weight is None else weight.mean().item(),
        weight_std=None if weight is None else weight.std(correction=0).item(),
        gradient_rms=None,
        calls=0,
        sums=[0, 0.0, 0.0],
    )


def _add_activation(row: dict, module: nn.Module, args: tuple, output: Tensor) -> None:
    """Add an output to the row's sums; a head shared by pyramid levels has several outputs."""
    if count := output.numel():
        variance, mean = (v.item() for v in torch.var_mean(output.detach().float(), correction=0))
        row['calls'] += 1
        added = (count, count * mean, count * (variance + mean**2))
        row['sums'] = [total + value for total, value in zip(row['sums'], added)]


def _set_gradient(row: dict, factor: float, weight: Tensor) -> None:
    assert weight.grad is not None  # torch calls the hook when it has been set
    row['gradient_rms'] = weight.grad.detach().float().square().mean().sqrt().item() / factor


def _finished(row: dict) -> dict:
    """Convert the sums to moments, and numbers that are not finite to None, for JSON."""
    count, total, squares = row.pop('sums')
    count = count or math.nan  # a layer without an output
    mean = row['activation_mean'] = total / count
    row['activation_std'] = math.sqrt(max(squares / count - mean**2, 0))
    row['activation_rms'] = math.sqrt(squares / count)
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _table(rows: list[dict]) -> str:
    """Draw the rows of convolutions and linear layers; '-': layer not used, or not finite."""
    cells = [['', 'fan in', 'fan out', 'fill', 'weight std', 'act. std', 'grad RMS']]
    for row in (row for row in rows if row['fan_in'] is not None):
        scales = [row['weight_std'], row['activation_std'], row['gradient_rms']]
        known = [row['fan_in'], row['fan_out'], row['fill'] or '-']
        cells.append([row['module'], *known, *('-' if n is None else f'{n:.2e}' for n in scales)])
    width = max(len(line[0]) for line in cells)
    lines = [f'{line[0]:{width}}' + ''.join(f'{cell:>11}' for cell in line[1:]) for line in cells]
    return '\n'.join([f'Scales at step 0 (norm layers: init_stats.json). {MEASURED}', *lines])

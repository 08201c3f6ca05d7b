"""Weight fills by module pattern, and the scale of every layer at step 0."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmcv.cnn import is_norm
from mmdet.registry import HOOKS
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmscratch.errors import InputError
from mmscratch.hooks.runner_state import bare_model

FILLS = ('msra', 'xavier', 'gaussian')
MEASURED = (
    'Activations: all outputs of a layer in the first iteration on rank 0. Gradients: RMS over a '
    "weight of the gradient of that iteration's loss on rank 0's images, before averaging over "
    'ranks and before clipping; loss scaling is undone.'
)


@HOOKS.register_module()
class InitHook(Hook):
    r"""Fill weights by module pattern before the first step, and record each layer's scale at it.

    The fills are Caffe2's (``caffe2/operators/filler_op.h``), as Detectron uses them:

    - ``msra``: normal, std sqrt(2 / fan_out) (He et al., ICCV 2015, eq. 14)
    - ``xavier``: uniform in +-sqrt(3 / fan_in), i.e. std sqrt(1 / fan_in)
    - ``gaussian``: normal, with the ``std`` of the rule (Detectron's RPN: 0.01)

    Biases become 0. Only convolutions (transposed too) and linear layers are filled, never norm
    layers. Loaded weights win: a layer whose weight comes from ``load_from``, or that lies under a
    ``Pretrained`` init_cfg, keeps it, and a resumed run is left alone. A layer's values depend on
    the seed of the run and the layer's name only: not on device, rank, or the rest of the model.

    With ``stats``, the log gets a table of the convolutions and linear layers, and
    ``init_stats.json`` in the work directory gets these and the norm layers. The measuring hooks
    are gone after the first iteration.

    Args:
        rules: Dicts of ``pattern`` (a regular expression, searched in the module's name), ``fill``
            and, for gaussian, ``std``. The first that matches a layer fills it; a rule that is left
            without a layer raises :class:`InputError`.
        stats: Whether to measure.
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
        self._waiting = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights are loaded."""
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
        self._waiting = self.stats and is_main_process()
        layers = {
            name: module
            for name, module in bare_model(runner).named_modules()
            if isinstance(module, (_ConvNd, nn.Linear))
        }
        assigned = self._assign(layers)
        kept = self._kept(runner, layers).intersection(assigned)
        for name, rule in assigned.items():
            if name not in kept:
                fill(layers[name], rule['fill'], rule.get('std'), _generator(runner.seed, name))
                self._fill_of[name] = rule['fill']
        for rule in self.rules:
            keep = [name in kept for name, own in assigned.items() if own is rule]
            runner.logger.info(
                f'InitHook: {rule["fill"]} fill of {keep.count(False)} layers for '
                f'{rule["pattern"]!r}, {keep.count(True)} keep loaded weights'
            )

    def _assign(self, layers: dict[str, nn.Module]) -> dict[str, dict]:
        """Give each layer its first matching rule; raises if a rule is left without a layer."""
        assigned: dict[str, dict] = {}
        for rule in self.rules:
            matches = [name for name in layers if re.search(rule['pattern'], name)]
            free = [name for name in matches if name not in assigned]
            if not free:
                raise InputError(_unmatched(rule, matches, list(layers)))
            assigned.update(dict.fromkeys(free, rule))
        return assigned

    def _kept(self, runner: Runner, layers: dict[str, nn.Module]) -> set[str]:
        """Names of the layers whose weights are loaded."""
        kept = {
            name
            for name, layer in layers.items()
            if self._loaded.get(f'{name}.weight') == layer.weight.shape
        }
        for prefix in pretrained_modules(bare_model(runner)):
            kept |= {name for name in layers if not prefix or f'{name}.'.startswith(f'{prefix}.')}
        return kept

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Start measuring in the first iteration."""
        if not self._waiting:
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
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Write down what the first iteration showed, and stop measuring."""
        if not self._waiting:
            return
        self._waiting = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        rows = [_finished(row) for row in self._rows]
        self._rows.clear()
        runner.logger.info(_table(rows))
        file = Path(runner.work_dir) / 'init_stats.json'
        stats = dict(seed=int(runner.seed), measured=MEASURED, layers=rows)
        file.write_text(json.dumps(stats, indent=1) + '\n')


def fans(layer: _ConvNd | nn.Linear) -> tuple[int, int]:
    """Fan-in and fan-out: weights that lead to one output, and weights that leave one input.

    For ordinary convolutions and linear layers these are Caffe2's numbers, size / shape[0] and
    size / shape[1]. Caffe2 reads the shape in this way for transposed and grouped ones too, where
    the numbers mean something else; here the meaning is kept. Stride is not divided out.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    size = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * size, layer.out_channels // layer.groups * size


@torch.no_grad()
def fill(
    layer: _ConvNd | nn.Linear, kind: str, std: float | None, generator: torch.Generator
) -> None:
    """Fill a layer's weight by one of ``FILLS`` and its bias with 0, the same on every rank."""
    fan_in, fan_out = fans(layer)
    # drawn on the CPU, for the same numbers on every device
    values = torch.empty(layer.weight.shape)
    if kind == 'xavier':
        bound = math.sqrt(3 / fan_in)
        values.uniform_(-bound, bound, generator=generator)
    else:
        values.normal_(0, math.sqrt(2 / fan_out) if kind == 'msra' else std, generator=generator)
    layer.weight.copy_(values)
    # DistributedDataParallel has sent its weights around long before, and with diff_rank_seed the
    # ranks have drawn different ones
    broadcast(layer.weight.data)
    if layer.bias is not None:
        layer.bias.zero_()


def pretrained_modules(model: nn.Module) -> list[str]:
    """Names of the modules whose init_cfg is of type Pretrained; '' is the model itself."""
    found = []
    for name, module in model.named_modules():
        init_cfg = getattr(module, 'init_cfg', None) or []
        if any(map(is_pretrained, [init_cfg] if isinstance(init_cfg, dict) else init_cfg)):
            found.append(name)
    return found


def is_pretrained(init_cfg: dict) -> bool:
    """Whether a config names mmengine's initializer that loads a checkpoint."""
    kind = init_cfg.get('type')
    return getattr(kind, '__name__', str(kind)).split('.')[-1] in ('Pretrained', 'PretrainedInit')


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f'{seed}/{name}'.encode()).digest()
    # the CPU generator takes 32 bits of a seed
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], 'big'))


def _checked(rule: dict) -> dict:
    """Return the rule, or say what is wrong with it."""
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
    where = f'InitHook rule with pattern {rule["pattern"]!r}'
    if matches:
        return f'{where}: earlier rules take all {len(matches)} layers it matches; put it first'
    plain = re.sub(r'[^\w.]', '', rule['pattern'].replace(r'\.', '.')).strip('.')
    # a pattern names a layer or one of the modules around it
    names = {
        '.'.join(parts[:depth])
        for parts in (name.split('.') for name in layers)
        for depth in range(1, len(parts) + 1)
    }
    close = difflib.get_close_matches(plain, sorted(names), n=3, cutoff=0.5)
    hint = (
        f'close names: {", ".join(close)}'
        if close
        else f'layers begin with {", ".join(layers[:3])}'
    )
    return f'{where} matches no convolution or linear layer; {hint}'


def _row(name: str, module: nn.Module, filled: str | None) -> dict:
    """Start a row: what is known before the first forward pass."""
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
    """Add an output to the row's sums; a head shared by pyramid levels is called several times."""
    if not output.numel():
        return
    variance, mean = torch.var_mean(output.detach().float(), correction=0)
    mean, variance, count = mean.item(), variance.item(), output.numel()
    row['calls'] += 1
    for i, value in enumerate((count, count * mean, count * (variance + mean**2))):
        row['sums'][i] += value


def _set_gradient(row: dict, factor: float, weight: Tensor) -> None:
    row['gradient_rms'] = weight.grad.detach().float().square().mean().sqrt().item() / factor


def _finished(row: dict) -> dict:
    """Turn the sums into moments; a number that is not finite becomes None, as JSON has none."""
    count, total, squares = row.pop('sums')
    mean = total / count if count else None
    row['activation_mean'] = mean
    row['activation_std'] = math.sqrt(max(squares / count - mean**2, 0)) if count else None
    row['activation_rms'] = math.sqrt(squares / count) if count else None
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _table(rows: list[dict]) -> str:
    """Draw the rows of convolutions and linear layers; '-': layer not reached, or not finite."""
    shown = [row for row in rows if row['fan_in'] is not None]
    cells = [['', 'fan in', 'fan out', 'fill', 'weight std', 'act. std', 'grad RMS']]
    for row in shown:
        scales = [row['weight_std'], row['activation_std'], row['gradient_rms']]
        known = [row['fan_in'], row['fan_out'], row['fill'] or '-']
        cells.append([row['module'], *known, *('-' if n is None else f'{n:.2e}' for n in scales)])
    width = max(len(line[0]) for line in cells)
    lines = [f'{line[0]:{width}}' + ''.join(f'{cell:>11}' for cell in line[1:]) for line in cells]
    return '\n'.join([f'Scales at step 0 (norm layers: init_stats.json). {MEASURED}', *lines])

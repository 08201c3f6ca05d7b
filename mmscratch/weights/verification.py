"""Check that a checkpoint is what was saved, and that its config is data."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.config import Config

import mmscratch.register_all  # noqa: F401
from mmscratch.config.sections import as_list, type_name
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint, checkpoint_config
from mmscratch.weights.publish import ROOT, check_weights, released_config

# Two evaluations of the same weights differ by no more, in AP from 0 to 1: other hardware rounds
# otherwise, and detections of nearly equal scores change places.
TOLERANCE = 0.001
# They write no file but those of `outfile_prefix`.
_METRICS = ('CocoMetric', 'FullCocoMetric', 'CocoKeypointMetric', 'VOCMetric')


def verify(file: Path) -> list[str]:
    """Check the file's name, tensors, weights and config.

    Returns:
        A line for each check that passed, or that the file has nothing for.

    Raises:
        InputError: a check failed.
    """
    loaded = checkpoint.load(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    named = re.search(r'-([0-9a-f]{8})\.pth$', file.name)
    if named and not digest.startswith(named[1]):
        raise InputError(
            f'{file}: its SHA-256 begins with {digest[:8]}, its name says {named[1]}: download it '
            'again from where you trust it'
        )
    lines = [f'file: SHA-256 {digest}{", as its name says" if named else ""}']
    saved = vars(loaded)[checkpoint.HASH]
    lines.append(
        f'tensors: SHA-256 {saved}, as the file says' if saved else 'tensors: the file has no hash'
    )
    check_weights(file, loaded)
    lines.append(f'weights: {len(loaded["state_dict"])} tensors, all finite')
    checkpoint_config.refuse_foreign_types(
        checkpoint_config.config_of(loaded, str(file)), str(file)
    )
    lines.append('config: nothing but data and names of registered classes')
    proof = loaded['meta'].get('preflight')
    began = (proof or {}).get('initialization') or {}
    lines.append(f'proof: began with {began.get("arm", "what it does not say")}, not verified here')
    return lines


def evaluate(file: Path, data: Path) -> list[str]:
    """Evaluate a release on a data set, and compare the numbers with its ``.metrics.json``.

    Model, data and metric are those of the config in the file (:func:`config_to_test`).

    Raises:
        InputError: there are no numbers of this iteration, others come out, or the test fails.
    """
    loaded = checkpoint.load(file)
    told = _told(file.with_suffix('.metrics.json'), loaded['meta'].get('iter'))
    with tempfile.TemporaryDirectory(prefix='mmscratch-verify-') as folder:
        config = Path(folder) / 'config.py'
        config.write_text(config_to_test(loaded['meta']['cfg'], str(file)).pretty_text)
        command = [sys.executable, ROOT / 'tools/test.py', config, file, '--data', data]
        done = subprocess.run(
            [*map(str, command), '--work-dir', folder], capture_output=True, text=True
        )
        if done.returncode:
            said = re.findall(r'^error: (.*)', done.stderr, re.MULTILINE)
            raise InputError(
                said[-1]
                if said
                else f'{file}: its test ended with status {done.returncode} (-9: no memory)'
            )
        found = json.loads((Path(folder) / 'test_metrics.json').read_text())['test']
    return compare(file, found, told)


def _told(report: Path, iteration: int | None) -> dict[str, Any]:
    """The numbers that a release's ``.metrics.json`` has of an iteration."""
    if not report.is_file():
        raise InputError(f'{report}: no such file; put the metrics of the release beside it')
    try:
        history = json.loads(report.read_text())['history']
        told = next((entry for entry in history if entry['iteration'] == iteration), None)
    except (ValueError, LookupError, TypeError):
        raise InputError(f'{report}: is damaged; download it again') from None
    if told is None:
        raise InputError(f'{report}: has no validation of iteration {iteration}')
    return told


def compare(file: Path, found: Mapping[str, float], told: Mapping[str, Any]) -> list[str]:
    """Compare AP, from 0 to 1, that was found with what a release tells.

    Returns:
        A line for each of its numbers.

    Raises:
        InputError: one is another, or is no number; or there is none to compare.
    """
    names = [name for name in found if name.endswith('_mAP') and name in told]
    if not names:
        raise InputError(
            f'{file}: its .metrics.json has no AP that the test gives; nothing to verify'
        )
    lines = [
        f'{name}: {found[name]:.4f}, the release says '
        + (f'{told[name]:.4f}' if isinstance(told[name], Real) else repr(told[name]))
        for name in names
    ]
    wrong = [
        name
        for name in names
        if not isinstance(told[name], Real) or not abs(found[name] - told[name]) <= TOLERANCE  # NaN
    ]
    if wrong:
        raise InputError(f'{file}: {wrong[0]} is another; {"; ".join(lines)}')
    return lines


def config_to_test(text: str, file: str) -> Config:
    """Take model, data and metric from a release's config, and the rest from the repository.

    The rest of a stranger's config may import modules, and write over any file: so can a
    visualizer, a hook, and a metric that stores detections.

    Raises:
        InputError: the config is not plain data, lacks a part, or has an unregistered type or
            another metric.
    """
    cfg = released_config(text, file)
    try:
        parts = {key: cfg[key] for key in ('model', 'test_dataloader', 'test_evaluator')}
        metrics = as_list(parts['test_evaluator'])
        for metric in metrics:
            metric.pop('outfile_prefix', None)
        parts['model']['type'], parts['test_dataloader']['dataset']['type'], metrics[0]['type']
    except (AttributeError, LookupError, TypeError) as error:
        raise InputError(f'{file}: its config lacks a part to test ({error})') from None
    checkpoint_config.refuse_foreign_types(parts, file, buildable=True)
    if odd := {type_name(metric) for metric in metrics} - {*_METRICS}:
        raise InputError(
            f'{file}: its metric {min(odd)} is none of {", ".join(_METRICS)}, and may write files; '
            'test it with tools/test.py, if you trust who made it'
        )
    rest = Config.fromfile(ROOT / 'configs/_base_/runtime.py').to_dict()
    return Config(dict(rest, **parts, test_cfg=dict(type='TestLoop')))

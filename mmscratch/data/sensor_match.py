"""Compares images with those that a checkpoint was trained on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmscratch.config.sections import type_name
from mmscratch.data import sensor
from mmscratch.data.image_check import ImageFacts
from mmscratch.data.transforms.load_image_from_file import LoadImageFromFile, loader_of
from mmscratch.errors import InputError
from mmscratch.weights import checkpoint_config

_LOOKED_AT = 32  # images whose values are compared
# Other images of one sensor differ by less, other units, bits or offsets by more.
_DEVIATIONS = 3.0  # of the training images, between the means
_FACTOR = 10.0  # between the deviations


def check(cfg: Config, loaded: Mapping[str, Any], file: Path) -> list[str]:
    """Compare the images that a config tests on with those that a checkpoint was trained on.

    Args:
        cfg: reads the data already.
        loaded: the checkpoint; without a config there is nothing to compare with.
        file: its name, for messages.

    Returns:
        Remarks on images of the same kind with other channels or other values.

    Raises:
        InputError: the images are of another kind: type or number of channels.
    """
    try:
        trained = checkpoint_config.config_of(loaded, str(file))
    except InputError:
        return []
    theirs, own = loader_of(trained), loader_of(cfg)
    paths = sensor.image_paths(cfg, ['test']) if theirs.channels or own.channels else []
    place = paths[0].parent if paths else cfg.filename
    is_other_type = None not in (theirs.dtype, own.dtype) and theirs.dtype != own.dtype
    count, wanted = (len(loader.channels or ()) for loader in (own, theirs))
    if count != wanted or is_other_type:
        cure = 'give images of that kind'
        if not is_other_type and 0 < max(theirs.channels or [0]) <= max(own.channels or [3]):
            cure += f', or choose with --channels {_listed(theirs.channels)}'
        raise InputError(
            f'{file}: was trained on {_kind(theirs)}, and the network would take {_kind(own)} from '
            f'{place}; {cure}'
        )
    remarks = []
    if theirs.channels != own.channels:
        remarks.append(
            f'{place}: channels {_listed(own.channels)} are tested, and {file} was trained on '
            f'{_listed(theirs.channels)}; see that they show the same (--channels)'
        )
    model = trained.get('model') or {}
    return remarks + value_remarks(paths, own, model.get('data_preprocessor') or {})


def value_remarks(
    paths: Sequence[Path], loader: LoadImageFromFile, preprocessor: Mapping[str, Any]
) -> list[str]:
    """Remark on channels whose values are far from those that a preprocessor was made for.

    Images that cannot be loaded are passed over, and so are colour images of 8 bits.
    """
    mean, deviation = (preprocessor.get(key) for key in ('mean', 'deviation'))
    if type_name(preprocessor) != 'SensorDataPreprocessor' or not (mean and deviation):
        return []

    def images() -> Iterator[np.ndarray]:
        for path in sensor.evenly(paths, _LOOKED_AT):
            try:
                yield loader.image(path)
            except Exception:  # told where all images are loaded
                continue

    found = sensor.moments(images())
    if found is None:
        return []
    remarks = []
    for k, channel in enumerate(loader.channels or ()):
        (own, spread), (theirs, usual) = (found.mean[k], found.std[k]), (mean[k], deviation[k])
        is_far = abs(own - theirs) > _DEVIATIONS * usual
        if is_far or not 1 / _FACTOR < spread / usual < _FACTOR:
            remarks.append(
                f'{paths[0].parent}: values of channel {channel} have the mean {own:g} and the '
                f'deviation {spread:g}, and those of training had {theirs:g} and {usual:g}: '
                'detections are of no use if these are other units, bits or offsets'
            )
    return remarks


def file_remarks(facts: Sequence[ImageFacts], loader: LoadImageFromFile) -> list[str]:
    """Remark on files of which a loader takes less than they have."""
    remarks = []
    channels = loader.channels or []
    deep = [fact for fact in facts if fact.dtype != 'uint8' and not fact.not_for_opencv]
    if deep and not channels:
        remarks.append(
            f'{len(deep)} images have {deep[0].dtype}, and the model was trained on colour of 8 '
            'bits: only their upper 8 bits are used; rescale them to 8 bits'
        )
    more = [fact for fact in facts if fact.channels > len(channels)]
    if more and channels and channels == [*range(1, len(channels) + 1)]:
        remarks.append(
            f'{len(more)} images have {more[0].channels} channels, of which the model takes '
            f'{_listed(channels)}'
        )
    return remarks


def _kind(loader: LoadImageFromFile) -> str:
    if not loader.channels:
        return 'colour or grey of 8 bits'
    count = len(loader.channels)
    kind = f'{count} channel{"s" * (count > 1)}'
    return f'{kind} of {loader.dtype}' if loader.dtype else kind


def _listed(channels: Sequence[int] | None) -> str:
    return ' '.join(map(str, channels or ()))

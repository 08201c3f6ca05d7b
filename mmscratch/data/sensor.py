"""Makes a config take the images of a folder as they are: channels, type and range."""

import inspect
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from mmscratch.config.sections import as_list, type_name, walk, walk_paths
from mmscratch.data import coco_json, repoint, voc_xml
from mmscratch.data.image_check import IMAGE_SUFFIXES, ImageFacts, find_images, look_at_all
from mmscratch.errors import InputError
from mmscratch.process.progress_bar import ProgressBar

HEADERS = 64  # looked at to learn what the images are; the check of the data looks at all
MEASURED = 500  # images whose mean and deviation are measured
# float32, which networks compute in, holds their values
_DTYPES = ('uint8', 'uint16', 'int16', 'float16', 'float32', 'float64')
# Of ImageNet's images in 8 bits, which the input scales of configs are made for.
_IMAGENET_STD = (58.395, 57.12, 57.375)
# Augmentations of colour images of 8 bits; YOLOXHSVRandomAug and the like have hue.
COLOUR_ONLY = {
    *('PhotoMetricDistortion', 'YOLOXHSVRandomAug', 'ColorTransform', 'Color', 'Brightness'),
    *('Contrast', 'Sharpness', 'Solarize', 'SolarizeAdd', 'Posterize', 'Equalize'),
    *('AutoContrast', 'Invert', 'Albu', 'Corrupt'),
}
_STEPS = ('transforms', 'policies', 'aug_space')  # keys of lists of augmentations
# MMDetection's form of these makes images of three channels.
_THREE_ONLY = {'Mosaic', 'CachedMosaic', 'MixUp', 'CachedMixUp'}


def fit(
    cfg: Config,
    channels: Sequence[int] | None = None,
    shown: Sequence[int] | None = None,
    measure: bool = True,
) -> None:
    """Set loader, preprocessor, first layer and augmentations by the training images.

    Nothing changes for images of 8 bits with one or three channels, and for a fourth that is the
    same everywhere, as alpha is, unless ``channels`` are given. Grey images are loaded as three
    equal channels then.

    The input of the network has the scale that ImageNet's images have by the config's own
    deviation, since pre-trained weights and learning rates go with it.

    Args:
        cfg: reads the data already; changed in place.
        channels: those of the files to use, from 1; by default all.
        shown: three or one of the files' channels for pictures, from 1.
        measure: whether to measure mean and deviation. A model that is tested has them in its
            weights.

    Raises:
        InputError: the images are of several kinds, a channel is absent or the same everywhere, or
            the model takes three channels alone.
    """
    paths = image_paths(cfg)
    some = evenly(paths, HEADERS)
    found = [(path, fact) for path, fact in zip(some, look_at_all(some)) if not fact.fault]
    if not found or (channels is None and _is_colour(found)):
        if shown:
            raise InputError(
                f'--shown-channels: {found[0][0] if found else "the images"}: is shown in its '
                'colours, as one of 8 bits; leave the option out, or give --channels too'
            )
        return
    dtype, count = _kind(found, channels)
    chosen = list(channels or range(1, count + 1))
    for each in (chosen, shown or []):
        if min(each, default=1) < 1 or max(each, default=1) > count or len({*each}) < len(each):
            raise InputError(
                f'{found[0][0]}: has the channels 1 to {count}, not {" ".join(map(str, each))}; '
                'give --channels and --shown-channels some of these, each once'
            )
    if shown and len(shown) not in (1, 3):
        raise InputError(f'--shown-channels takes one channel or three, not {len(shown)}')
    step: dict[str, Any] = dict(channels=chosen, dtype=dtype)
    if shown:
        step['shown'] = list(shown)
    mean, std, told = [0.0] * len(chosen), [1.0] * len(chosen), 'mean and deviation: as trained'
    if measure:
        mean, std, told = _measured(evenly(paths, MEASURED), step, len(paths))
    print_log(
        f'{found[0][0].parent}: images of {found[0][1].kind} (headers of {len(found)}); '
        f'the network takes {_some(chosen, ", ")}; {told}',
        logger='current',
        level=logging.INFO,
    )
    repoint.register_all(cfg)
    for node in list(walk(cfg._cfg_dict)):
        if type_name(node) == 'LoadImageFromFile':
            node.update(step)
    _fit_model(cfg, mean, std)
    if measure:
        cfg.model.data_preprocessor.deviation = std
    _fit_augmentations(cfg, mean, std)


def image_paths(cfg: Config, splits: Sequence[str] = ('train', 'val', 'test')) -> list[Path]:
    """The images of the first of the splits that there is, if ``--data`` can read such data."""
    for split in splits:
        for dataset in repoint.datasets(cfg, split):
            if type_name(dataset) == 'UnlabelledImagesDataset':
                return [file for each in dataset['folders'] for file in find_images(Path(each))]
            folder = repoint.image_dir(dataset)
            if type_name(dataset) == 'VocFolderDataset':
                names = voc_xml.read_names(repoint.annotation_path(dataset))
                by_name = voc_xml.find_files(folder, names, IMAGE_SUFFIXES)
                return [by_name[name] for name in names if name in by_name]
            if repoint.annotation_path(dataset).suffix == '.json':
                content = coco_json.load(repoint.annotation_path(dataset))
                return [folder / row['file_name'] for row in content['images']]
    return []


def evenly(paths: Sequence[Path], number: int) -> list[Path]:
    """So many paths from all parts of the list, always the same, without those that are absent."""
    chosen = np.linspace(0, len(paths) - 1, min(number, len(paths))).round().astype(int)
    return [paths[i] for i in chosen if os.path.isfile(paths[i])]


def _is_colour(found: Sequence[tuple[Path, ImageFacts]]) -> bool:
    """Whether images are loaded as three channels of 8 bits: colour, or grey thrice."""
    facts = [fact for _, fact in found]
    if any(fact.dtype != 'uint8' or fact.not_for_opencv for fact in facts):
        return False
    counts = {fact.channels for fact in facts}
    if counts <= {1, 3}:
        return True
    if counts != {4}:  # colour and grey, some with alpha; or two bands of a TIFF
        return counts <= {1, 3, 4}
    from mmscratch.data.transforms import LoadImageFromFile

    load = LoadImageFromFile(channels=[4])
    values = {int(value) for path, _ in found[:8] for value in np.unique(load.image(path))}
    if len(values) > 1:
        return False
    print_log(
        f'{found[0][0].parent}: channel 4 is {values.pop()} everywhere, and is left out as alpha',
        logger='current',
        level=logging.INFO,
    )
    return True


def _kind(
    found: Sequence[tuple[Path, ImageFacts]], channels: Sequence[int] | None
) -> tuple[str, int]:
    """Type and number of the channels of all images."""
    first, fact = found[0]
    for path, other in found:
        if other.dtype != fact.dtype or (not channels and other.channels != fact.channels):
            raise InputError(
                f'{path}: has {other.kind}, and {first} {fact.kind}; convert them to one kind'
                + ', or choose common ones with --channels' * (other.dtype == fact.dtype)
            )
    if fact.dtype not in _DTYPES:
        raise InputError(
            f'{first}: has values of {fact.dtype}; save them as one of {", ".join(_DTYPES)}'
        )
    return fact.dtype, min(other.channels for _, other in found)


def _measured(
    paths: Sequence[Path], step: dict[str, Any], total: int
) -> tuple[list[float], list[float], str]:
    """Mean and deviation of each channel over all pixels of the images, and a line on them."""
    from mmscratch.data.transforms import LoadImageFromFile

    load, chosen = LoadImageFromFile(**step), step['channels']
    bar = ProgressBar(paths, 'measuring mean and deviation', len(paths), leave=False, delay=1)

    def images() -> Iterator[np.ndarray]:
        for path in bar:
            try:
                yield load.image(path)
            except InputError:
                raise
            except Exception:  # the check of the data tells of it
                continue

    found = moments(images())
    if found is None:
        raise InputError(f'{paths[0]}: neither this image nor another can be decoded; write anew')
    rounded = [[float(f'{value:.6g}') for value in each] for each in (found.mean, found.std)]
    for channel, place, spread in zip(chosen, *rounded):
        if spread <= 1e-6 * abs(place):
            others = ' '.join(str(other) for other in chosen if other != channel)
            raise InputError(
                f'{paths[0].parent}: channel {channel} is {place:g} everywhere and tells nothing; '
                + (f'leave it out with --channels {others}' if others else 'give other images')
            )
    means, stds = map(_some, rounded)
    count = f'{len(paths):,}' + f' of {total:,}' * (len(paths) < total)
    told = (
        f'values {found.low:g} to {found.high:g}, mean {means}, deviation {stds} ({count} training '
        'images)'
    )
    return rounded[0], rounded[1], told


def _some(values: Sequence[float], separator: str = ' ') -> str:
    """The first of the values, and how many more there are."""
    more = f' and {len(values) - 8} more' if len(values) > 8 else ''
    return separator.join(f'{value:g}' for value in values[:8]) + more


class Moments(NamedTuple):
    """Of all pixels of some images: mean and deviation of each channel, least and largest value."""

    mean: np.ndarray
    std: np.ndarray
    low: float
    high: float


def moments(images: Iterable[np.ndarray]) -> Moments | None:
    """The moments of images [H, W, C]; None without an image."""
    sums, squares = np.zeros(1), np.zeros(1)
    pixels, low, high = 0, math.inf, -math.inf
    for image in images:
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        sums, squares = sums + values.sum(0), squares + np.square(values).sum(0)
        pixels += len(values)
        low, high = min(low, values.min()), max(high, values.max())
    if not pixels:
        return None
    mean = sums / pixels
    return Moments(mean, np.sqrt(np.maximum(squares / pixels - mean**2, 0)), low, high)


def _fit_model(cfg: Config, mean: list[float], std: list[float]) -> None:
    """Give preprocessor and backbone the channels."""
    model = cfg.model
    preprocessor = model.get('data_preprocessor') or {}
    if type_name(preprocessor) not in ('DetDataPreprocessor', 'SensorDataPreprocessor'):
        raise InputError(
            f'{cfg.filename}: model.data_preprocessor.type={type_name(preprocessor)!r} takes '
            'colour images of 8 bits alone; use DetDataPreprocessor'
        )
    own = preprocessor.get('std') or 1.0  # YOLOX takes values as they are
    own = _IMAGENET_STD if type_name(preprocessor) == 'SensorDataPreprocessor' else own
    scale = np.mean(_IMAGENET_STD) / np.mean(own)
    std = [float(f'{value / scale:.6g}') for value in std]
    preprocessor.update(
        type='SensorDataPreprocessor', mean=mean, std=std, bgr_to_rgb=False, rgb_to_bgr=False
    )
    backbone = model.get('backbone') or {}
    kind = repoint.class_of(backbone, 'MODELS')
    if any('in_channels' in inspect.signature(c).parameters for c in kind.__mro__[:-1]):
        backbone['in_channels'] = len(mean)
    elif len(mean) != 3:
        raise InputError(
            f'{cfg.filename}: model.backbone.type={type_name(backbone)} takes three channels, '
            f'not {len(mean)}; use a backbone with in_channels, such as ResNet, TimmBackbone or '
            'SwinTransformer, or choose three with --channels'
        )
    for each in as_list(backbone.get('init_cfg')):
        if type_name(each) in ('Pretrained', 'PretrainedInit') and len(mean) != 3:
            raise InputError(
                f'{cfg.filename}: model.backbone.init_cfg loads weights for three channels, which '
                f'would leave a first layer of {len(mean)} random; set it to None and give '
                f'--init {each.get("checkpoint")}, which adapts the layer'
            )


def _fit_augmentations(cfg: Config, mean: list[float], std: list[float]) -> None:
    """Take out augmentations of colour, and say so; fill what Expand adds with the mean.

    The views of a pre-training change each channel by itself in place of colours.
    """
    names = COLOUR_ONLY | (_THREE_ONLY if len(mean) != 3 else set())

    def is_out(step: Any) -> bool:
        # their own choice has colours
        is_auto = isinstance(step, dict) and type_name(step) in ('AutoAugment', 'RandAugment')
        if is_auto and not step.keys() & {'policies', 'aug_space'}:
            return True
        return isinstance(step, dict) and type_name(step) in names

    left_out: dict[str, None] = {}
    pipelines = [
        steps
        for path, section in walk_paths(cfg._cfg_dict)
        for key, steps in section.items()
        if isinstance(steps, list) and ('pipeline' in key or key in _STEPS)
    ]
    while pipelines:
        steps = pipelines.pop()
        left_out |= dict.fromkeys(type_name(s) for s in steps if is_out(s))
        steps[:] = [step for step in steps if not is_out(step)]
        pipelines += [step for step in steps if isinstance(step, list)]
    for node in walk(cfg._cfg_dict):
        if type_name(node) == 'Expand':
            node.update(mean=mean, to_rgb=False)
        if type_name(node) == 'TwoViews' and 'deviation' not in node:
            node['deviation'] = std
            print_log(
                'TwoViews: changes brightness and contrast of each channel by itself; saturation, '
                'hue and grey of colour images of 8 bits alone: left out',
                logger='current',
                level=logging.WARNING,
            )
    if left_out:
        print_log(
            f'{", ".join(left_out)}: left out: augmentations of colour images of 8 bits alone',
            logger='current',
            level=logging.WARNING,
        )

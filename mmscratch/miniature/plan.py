"""What the study trains: data sets, lengths, initializations, seeds."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmscratch.datasets.shapes import ShapesConfig, generate
from mmscratch.miniature.run import Run

ROOT = Path('data/miniature')
# Half hidden, crowded and pale, so that the longest schedule ends far from the ceiling.
DETECTION = ShapesConfig(
    size=128,
    classes=('disc', 'rectangle', 'triangle', 'star', 'cross', 'ring'),
    objects=(2, 7),
    object_size=(0.12, 0.5),
    occlusion=0.5,
    contrast=0.5,
    noise=24,
)
# Other classes, and of the textures a part.
CLASSIFICATION = ShapesConfig(
    size=64,
    classes=('heart', 'arrow', 'crescent', 'hexagon', 'tee', 'hourglass', 'half_disc', 'ell'),
    objects=(1, 1),
    object_size=(0.5, 0.95),
    occlusion=0.1,
    contrast=0.5,
    noise=24,
    textures=('plain', 'stripes', 'waves', 'checks', 'dots'),
)
DATA = {
    'detection': (DETECTION, {'train': 3000, 'val': 300}),
    'classification': (CLASSIFICATION, {'train': 12000, 'val': 1000}),
}
DETECTOR = 'configs/miniature/mask_rcnn_r18_gn.py'
DSOD = 'configs/miniature/dsod128_small_bn.py'
CLASSIFIER = 'configs/miniature/image_classifier_r18_gn.py'

# The paper's 90k iterations of 16 images, and its drops 60k and 20k before the end, at 1/300.
ONE = 300
FIRST_DROP, SECOND_DROP = 200, 67
LENGTHS = (1, 2, 3, 4, 5, 6)

# Dotted config keys and values, as of --cfg-options
Options = tuple[tuple[str, Any], ...]


def draw_data(names: Iterable[str], workers: int) -> None:
    """Draw the data sets that are not there yet."""
    for name in names:
        config, splits = DATA[name]
        generate(ROOT / name, config, splits, workers=workers)


def pre_training(seed: int) -> Run:
    """The stand-in for ImageNet pre-training."""
    return Run('classifier', CLASSIFIER, seed)


def _tail_begins(length: int) -> int:
    """The iteration before the first drop: mmengine drops the rate when it comes to one."""
    return length * ONE - FIRST_DROP - 1


def trunk(
    name: str,
    seed: int,
    weights: Run | None = None,
    options: Options = (),
    longest: int | None = None,
) -> Run:
    """The constant rate, as long as the longest schedule has it; checkpoints where tails begin."""
    end = _tail_begins(longest or LENGTHS[-1])
    options = (
        *options,
        ('train_cfg.max_iters', end),
        ('train_cfg.val_interval', ONE),
        ('param_scheduler.1.milestones', []),
        ('param_scheduler.1.end', end),
        ('default_hooks.checkpoint.interval', ONE),
        ('default_hooks.checkpoint.save_begin', _tail_begins(1)),
        ('default_hooks.checkpoint.max_keep_ckpts', -1),
    )
    return Run(f'{name}_trunk', DETECTOR, seed, options, weights)


def tail(name: str, length: int, of: Run, options: Options = (), drop_at: int = 0) -> Run:
    """The end of the schedule ``length`` x, from the trunk's checkpoint before its first drop.

    ``drop_at`` is another schedule's length, at whose first drop this one has its own.
    """
    end = length * ONE
    begin = _tail_begins(drop_at or length)
    options = (
        *options,
        ('train_cfg.max_iters', end),
        # validated at the end alone
        ('train_cfg.val_interval', end),
        ('param_scheduler.1.milestones', [begin + 1, end - SECOND_DROP]),
        ('param_scheduler.1.end', end),
        ('default_hooks.checkpoint.interval', end),
    )
    if of.weights:
        options += (('default_hooks.preflight.init', 'pretrained'),)
    return Run(name, DETECTOR, of.seed, options, trunk=of, begin=begin)


def schedules(seeds: Sequence[int]) -> list[Run]:
    """Every length from random and from pre-trained weights."""
    runs = []
    for seed in seeds:
        for name, weights in (('scratch', None), ('pretrained', pre_training(seed))):
            stem = trunk(name, seed, weights)
            runs += [tail(f'{name}_{length}x', length, stem) for length in LENGTHS]
    return runs


def frozen(seeds: Sequence[int]) -> list[Run]:
    """3x from scratch, as it is and with stem and first stage left at their random weights."""
    freeze = (
        ('model.backbone.frozen_stages', 1),
        ('default_hooks.preflight.allow', ['frozen', 'norm_eval']),
    )
    runs = []
    for seed in seeds:
        runs.append(tail('scratch_3x', 3, trunk('scratch', seed)))
        stem = trunk('frozen', seed, options=freeze, longest=3)
        runs.append(tail('frozen_3x', 3, stem, freeze))
    return runs


def early_drop(seeds: Sequence[int]) -> list[Run]:
    """6x from scratch, with the paper's drops and with the first drop where 2x has it."""
    runs = []
    for seed in seeds:
        stem = trunk('scratch', seed)
        runs.append(tail('scratch_6x', 6, stem))
        runs.append(tail('scratch_6x_early_drop', 6, stem, drop_at=2))
    return runs


# DSOD without one of its parts each (dsod_... -> options); the head's channels follow.
ABLATION: dict[str, Options] = {
    'dsod': (),
    'dsod_without_stem': (
        ('model.backbone.stem', 'conv7'),
        ('model.neck.in_channels', [144, 128]),
        ('model.bbox_head.in_channels', [144, 256, 256, 128, 128, 128]),
    ),
    'dsod_without_last_block': (('model.backbone.layers', [3, 4, 4]),),
    'dsod_without_dense_prediction': (
        ('model.neck.dense', False),
        ('model.bbox_head.in_channels', [176, 128, 256, 128, 128, 128]),
    ),
}


def one_stage(seeds: Sequence[int]) -> list[Run]:
    """DSOD, and the two-stage detector from scratch and pre-trained at as many images."""
    runs = []
    for seed in seeds:
        runs.append(Run('dsod', DSOD, seed))
        for name, weights in (('scratch', None), ('pretrained', pre_training(seed))):
            runs.append(tail(f'{name}_2x', 2, trunk(name, seed, weights)))
    return runs


def dsod_ablation(seeds: Sequence[int]) -> list[Run]:
    """DSOD as it is, and without each of its parts."""
    return [Run(name, DSOD, seed, options) for name, options in ABLATION.items() for seed in seeds]

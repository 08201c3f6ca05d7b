"""What the study of real images trains: parts of the data, schedules, initializations."""

from dataclasses import replace
from typing import Any

from mmscratch.study.pretraining_run import PretrainingRun
from mmscratch.study.pseudo_label_run import PseudoLabelRun
from mmscratch.study.real import data
from mmscratch.study.run import SHARED_CORES, Options, Run, subset
from mmscratch.study.schedule import Schedule

BOXES = {
    'scratch': 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py',
    'pretrained': 'configs/pretrained/faster_rcnn_lite0_bn_1200i_shapes.py',
    # with a wider neck and the heads of a cascade
    'frozen': 'configs/pretrained/cascade_mask_rcnn_lite0_bn_1200i_shapes_frozen.py',
}
MASKS = {
    'scratch': 'configs/scratch/mask_rcnn_lite0_bn_1200i_shapes.py',
    'pretrained': 'configs/pretrained/mask_rcnn_lite0_bn_1200i_shapes.py',
}
# 1x is 250 iterations of 8 images; the drops are the paper's, at the same share of 1x.
SCHEDULE = Schedule(one=250, first_drop=167, second_drop=56)
LENGTHS = (1, 2, 4)
SHORTEST, LONGEST = LENGTHS[0], LENGTHS[-1]
# All images of two data sets are trained on for longer too, since both sides still rise.
LONGER = 8
INITIALIZATIONS = ('scratch', 'pretrained')
# Part of a data set -> its name, the images of a nested subset (None: all), and what it is called.
PARTS: dict[str, tuple[str, int | None, str]] = {
    'deeppcb60': ('deeppcb', 60, '60 circuit boards'),
    'deeppcb250': ('deeppcb', 250, '250 circuit boards'),
    'deeppcb': ('deeppcb', None, '1,000 circuit boards'),
    'bccd': ('bccd', None, '291 blood smears'),
    'nuclei': ('nuclei_dsb2018', None, '479 images of nuclei'),
}
LEARNING_RATE = 0.04
LEARNING_RATES = (0.01, 0.02, 0.04, 0.08)
# Images are at most so long and so wide, in pixels: a step takes half a second on a core.
SCALE = (256, 192)
# The part with few labels, and the images of its data set that serve without labels.
FEW, UNLABELLED = 'deeppcb60', 500
# Images of ``FEW`` that the teacher of self-training learns from; the others choose thresholds.
TAUGHT = 48
# Ways to begin without ImageNet, on the images of the data set alone.
OWN_ARMS = ('own', 'direct', 'self-training')


def _options(part: str, images: int | None = None) -> Options:
    sides = ('train_dataloader', 'val_dataloader')
    return (
        *((f'{side}.dataset.pipeline.{k}.scale', SCALE) for side, k in zip(sides, (2, 1))),
        *_recipe(LEARNING_RATE, images or PARTS[part][1]),
    )


def _recipe(lr: float, images: int | None) -> Options:
    return (
        ('optim_wrapper.optimizer.lr', lr),
        ('param_scheduler.0.end', 51),
        ('default_hooks.logger.interval', 20),
        ('default_hooks.checkpoint.save_best', None),
        ('default_hooks.visualization.num_images', 4),
        *SHARED_CORES,
        ('val_dataloader.batch_size', 8),
        *(subset(images) if images else ()),
    )


def _run(name: str, part: str, arm: str, seed: int, options: Options = ()) -> Run:
    dataset = PARTS[part][0]
    config = (MASKS if dataset == 'nuclei_dsb2018' else BOXES)[arm]
    return Run(name, config, seed, data.of(dataset), options)


def _parent(seed: int, part: str, arm: str) -> Run:
    """The run at the constant rate that all lengths share."""
    run = _run(f'{part}_{arm}', part, arm, seed, _options(part))
    return SCHEDULE.trunk(run, SHORTEST, LONGEST, validate=SCHEDULE.branch_point(LONGEST))


def twins(seed: int, part: str) -> list[Run]:
    """Every length, from random and from ImageNet's weights."""
    return [
        SCHEDULE.branch(f'{part}_{arm}_{n}x', n, _parent(seed, part, arm), _options(part))
        for arm in INITIALIZATIONS
        for n in LENGTHS
    ]


def longer(seed: int, part: str) -> list[Run]:
    """``LONGER`` from random and from ImageNet's weights."""
    runs = []
    for arm in INITIALIZATIONS:
        name, options = f'{part}_{arm}', _options(part)
        parent = _parent(seed, part, arm)
        trunk = SCHEDULE.longer_trunk(f'{name}_trunk_{LONGER}x', parent, LONGER, options)
        runs.append(SCHEDULE.branch(f'{name}_{LONGER}x', LONGER, trunk, options))
    return runs


def twice_as_long(seed: int, part: str) -> list[Run]:
    """The longest schedules, and those of twice the length."""
    longest = [run for run in twins(seed, part) if run.name.endswith(f'_{LONGEST}x')]
    return [*longest, *longer(seed, part)]


def every_part(seed: int) -> list[Run]:
    """The twins of all parts."""
    return [run for part in PARTS for run in twins(seed, part)]


def fewest_and_all(seed: int) -> list[Run]:
    """The longest schedules on the smallest part of a data set and on all of it."""
    runs = [*twins(seed, 'deeppcb60'), *twins(seed, 'deeppcb')]
    return [run for run in runs if run.name.endswith(f'_{LONGEST}x')]


def at_rate(lr: float) -> str:
    """The name of 2x from ImageNet's weights at a learning rate."""
    return f'deeppcb250_lr{lr}_2x'


def learning_rates(seed: int) -> list[Run]:
    """2x from ImageNet's weights at several learning rates, at 256 x 256 pixels."""
    runs = []
    for lr in LEARNING_RATES:
        options = (*_recipe(lr, 250), *SCHEDULE.whole(2, 2))
        runs.append(_run(at_rate(lr), 'deeppcb250', 'pretrained', seed, options))
    return runs


def arm_name(arm: str) -> str:
    """The run of an arm on few labels."""
    return f'{FEW}_{arm}_{LONGEST}x' if arm in INITIALIZATIONS else f'{FEW}_{arm}'


def few_labels(seed: int) -> list[Run]:
    """Every initialization on the part with few labels, all with as many pixels as ``LONGEST``.

    ``own`` and ``direct`` spend half of them on pre-training with a quarter of the pixels an image
    and four times the images a step. The teacher of ``self-training`` has half of them.
    ``detector`` begins with ImageNet's detector of another data set. ``frozen`` has larger heads,
    ``frozen-small`` those of the others.
    """
    half = LONGEST // 2
    of_parts = {part: twins(seed, part) for part in (FEW, 'bccd')}
    scratch, pretrained = (
        next(run for run in of_parts[FEW] if run.name == arm_name(arm)) for arm in INITIALIZATIONS
    )
    other = next(run for run in of_parts['bccd'] if run.name == f'bccd_pretrained_{LONGEST}x')

    def arm(name: str, length: int, kind: str = 'scratch', **more: Any) -> Run:
        # a student is trained on all images
        images = _options('deeppcb' if 'labels' in more else FEW)
        options = (*images, *SCHEDULE.whole(length, length))
        return replace(_run(arm_name(name), FEW, kind, seed, options), **more)

    half_iterations = half * SCHEDULE.one
    own = PretrainingRun(
        f'{FEW}_pretraining',
        BOXES['scratch'],
        seed,
        data.of(PARTS[FEW][0]),
        (('train_dataloader.sampler.subset', UNLABELLED),),
        arguments=(
            '--iterations',
            str(half_iterations),
            '--size',
            str(SCALE[1] // 2),
            '--batch-size',
            '32',
        ),
    )
    many: Options = (
        ('train_dataloader.batch_size', 32),
        ('auto_scale_lr.base_batch_size', 32),
        ('optim_wrapper.optimizer.lr', 2 * LEARNING_RATE),
    )
    options = (*_options(FEW), *SCHEDULE.whole(half, half), *many)
    low = _run(f'{FEW}_low_resolution', FEW, 'scratch', seed, options)
    low = replace(low, arguments=('--scale', '0.5'))
    taught = (*_options(FEW, images=TAUGHT), *SCHEDULE.whole(half, half))
    teacher = _run(f'{FEW}_teacher', FEW, 'scratch', seed, taught)
    labels = PseudoLabelRun(
        f'{FEW}_pseudo_labels',
        BOXES['scratch'],
        seed,
        teacher.data,
        weights=teacher,
        arguments=('--labelled', str(PARTS[FEW][1]), '--batch-size', '8', '--workers', '0'),
    )
    return [
        scratch,
        pretrained,
        arm('frozen', LONGEST, 'frozen'),
        arm('frozen-small', LONGEST, 'pretrained', arguments=('--freeze',)),
        arm('detector', LONGEST, weights=other),
        arm('own', half, weights=own),
        arm('direct', half, weights=low),
        arm('self-training', half, labels=labels),
    ]

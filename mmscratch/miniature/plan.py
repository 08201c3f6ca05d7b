"""What the study trains: lengths, initializations, seeds."""

from collections.abc import Sequence
from typing import Any

from mmscratch.miniature.run import Run

DETECTOR = 'configs/miniature/mask_rcnn_r18_gn.py'
DETECTOR_BN = 'configs/miniature/mask_rcnn_r18_bn.py'
DETECTOR_MS = 'configs/miniature/mask_rcnn_r18_gn_ms.py'
DETECTOR_SPARSE = 'configs/miniature/mask_rcnn_r18_gn_ms_sparse.py'
KEYPOINT_DETECTOR = 'configs/miniature/keypoint_rcnn_r18_gn.py'
VGG = 'configs/miniature/faster_rcnn_vgg16_nonorm.py'
DSOD = 'configs/miniature/dsod128_small_bn.py'
DSOD_LARGE = 'configs/miniature/dsod128_small_bn_large.py'
CLASSIFIER = 'configs/miniature/image_classifier_r18_gn.py'
CLASSIFIER_BN = 'configs/miniature/image_classifier_r18_bn.py'

# The paper's 90k iterations of 16 images, and its drops 60k and 20k before the end, at 1/400.
ONE = 225
FIRST_DROP, SECOND_DROP = 150, 50
LENGTHS = (1, 2, 3, 4, 5, 6)
SHORTEST, LONGEST = LENGTHS[0], LENGTHS[-1]
# of claims that need no curve
FEW_LENGTHS = (1, 3, 6)
INITIALIZATIONS = ('scratch', 'pretrained')
# Images of the detection data in the subsets of claims 5 and 6
TENTH, HUNDREDTH = 300, 30
# where the longest of the others was too short to tell
LONGER = 12
# of claim 5: prefix of the runs' names -> images, lengths
SUBSETS = {
    'tenth_': (TENTH, (*FEW_LENGTHS, LONGER)),
    'hundredth_': (HUNDREDTH, FEW_LENGTHS),
}

# Dotted config keys and values, as of --cfg-options
Options = tuple[tuple[str, Any], ...]


def pre_training(seed: int, config: str = CLASSIFIER) -> Run:
    """The stand-in for ImageNet pre-training."""
    return Run('classifier_bn' if config == CLASSIFIER_BN else 'classifier', config, seed)


def _tail_begins(length: int) -> int:
    """The iteration before the first drop: mmengine drops the rate when it comes to one."""
    return length * ONE - FIRST_DROP - 1


def trunk(
    name: str,
    seed: int,
    weights: Run | None = None,
    options: Options = (),
    longest: int = LONGEST,
    config: str = DETECTOR,
) -> Run:
    """The constant rate, as long as the longest schedule has it; checkpoints where tails begin."""
    end = _tail_begins(longest)
    options = (
        *options,
        ('train_cfg.max_iters', end),
        ('train_cfg.val_interval', ONE),
        ('param_scheduler.1.milestones', []),
        ('param_scheduler.1.end', end),
        ('default_hooks.checkpoint.interval', ONE),
        ('default_hooks.checkpoint.save_begin', _tail_begins(SHORTEST)),
        ('default_hooks.checkpoint.max_keep_ckpts', -1),
    )
    return Run(f'{name}_trunk', config, seed, options, weights)


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
    return Run(name, of.config, of.seed, options, trunk=of, begin=begin)


def twins(
    seeds: Sequence[int],
    lengths: Sequence[int],
    prefix: str = '',
    config: str = DETECTOR,
    classifier: str = CLASSIFIER,
    options: Options = (),
    longest: int = LONGEST,
) -> list[Run]:
    """Schedules of these lengths, from random and from pre-trained weights."""
    runs = []
    for seed in seeds:
        for kind in INITIALIZATIONS:
            weights = pre_training(seed, classifier) if kind == 'pretrained' else None
            name = prefix + kind
            stem = trunk(name, seed, weights, options, longest, config)
            runs += [tail(f'{name}_{length}x', length, stem, options) for length in lengths]
    return runs


# Learning rate -> run; the study's own is in the config.
LEARNING_RATES = {
    0.02: 'pretrained_lr0.02_2x',
    0.04: 'pretrained_lr0.04_2x',
    0.08: 'pretrained_2x',
    0.16: 'pretrained_lr0.16_2x',
}


def learning_rates(seeds: Sequence[int]) -> list[Run]:
    """2x with pre-training at several learning rates."""
    runs = []
    for seed in seeds:
        weights = pre_training(seed)
        for lr, name in LEARNING_RATES.items():
            if name == 'pretrained_2x':
                runs.append(tail(name, 2, trunk('pretrained', seed, weights)))
                continue
            options = (('optim_wrapper.optimizer.lr', lr),)
            stem = trunk(name.removesuffix('_2x'), seed, weights, options, longest=2)
            runs.append(tail(name, 2, stem, options))
    return runs


def schedules(seeds: Sequence[int]) -> list[Run]:
    """Every length from random and from pre-trained weights."""
    return twins(seeds, LENGTHS)


def longest(seeds: Sequence[int]) -> list[Run]:
    """The longest schedule from random and from pre-trained weights."""
    return twins(seeds, (LONGEST,))


def batch_norm(seeds: Sequence[int]) -> list[Run]:
    """Twins with BN over 8 images, and BN from scratch over 2 and over 1, as GN too at 3x."""
    runs = twins(seeds, (SHORTEST, LONGEST), 'bn_', DETECTOR_BN, CLASSIFIER_BN)
    for seed in seeds:
        runs.append(tail('scratch_3x', 3, trunk('scratch', seed)))
        runs += [
            Run(
                f'bn{images}_scratch_3x',
                DETECTOR_BN,
                seed,
                (('train_dataloader.batch_size', images), *_straight(3, 3)),
            )
            for images in (2, 1)
        ]
    return runs


def _straight(length: int, each: int) -> Options:
    """A whole schedule in one go, saved and validated each so many x."""
    end = length * ONE
    return (
        ('train_cfg.max_iters', end),
        ('train_cfg.val_interval', each * ONE),
        ('param_scheduler.1.milestones', [end - FIRST_DROP, end - SECOND_DROP]),
        ('param_scheduler.1.end', end),
        ('default_hooks.checkpoint.interval', each * ONE),
    )


def _subset(images: int) -> Options:
    sampler = 'train_dataloader.sampler'
    return ((f'{sampler}.subset', images), (f'{sampler}.subset_seed', 0))


def less_data(seeds: Sequence[int]) -> list[Run]:
    """Twins on a tenth and on a hundredth of the images, and on the tenth for longer too."""
    tenth, hundredth = (
        twins(seeds, FEW_LENGTHS, prefix, DETECTOR_MS, options=_subset(images))
        for prefix, (images, _) in SUBSETS.items()
    )
    longer = (*_subset(TENTH), *_straight(LONGER, 2))
    tenth += [
        Run(f'tenth_{kind}_{LONGER}x', DETECTOR_MS, seed, longer, weights)
        for seed in seeds
        for kind, weights in (('scratch', None), ('pretrained', pre_training(seed)))
    ]
    return tenth + hundredth


def sparse(seeds: Sequence[int]) -> list[Run]:
    """Twins on as many images with few instances and classes, and with many."""
    return [
        *twins(seeds, FEW_LENGTHS, 'sparse_', DETECTOR_SPARSE),
        *twins(seeds, FEW_LENGTHS, 'tenth_', DETECTOR_MS, options=_subset(TENTH)),
    ]


def vgg(seeds: Sequence[int]) -> list[Run]:
    """VGG without normalization, by its convolutions' and layers' initialization."""
    rule = 'default_hooks.init.rules.0'
    gaussian = ((f'{rule}.fill', 'gaussian'), (f'{rule}.std', 0.01))
    return [
        Run(name, VGG, seed, options)
        for name, options in (('vgg_msra', ()), ('vgg_gaussian', gaussian))
        for seed in seeds
    ]


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
    """2x and 6x from scratch, and 6x with the first drop where 2x has it."""
    runs = []
    for seed in seeds:
        stem = trunk('scratch', seed)
        runs += [tail(f'scratch_{length}x', length, stem) for length in (2, 6)]
        runs.append(tail('scratch_6x_early_drop', 6, stem, drop_at=2))
    return runs


def keypoints(seeds: Sequence[int]) -> list[Run]:
    """Twins of a Keypoint R-CNN, and of the Mask R-CNN whose boxes they are compared with."""
    return [
        *twins(seeds, FEW_LENGTHS, 'keypoint_', KEYPOINT_DETECTOR),
        *twins(seeds, FEW_LENGTHS),
    ]


# DSOD without one of its parts each; the head's channels follow.
ABLATION: dict[str, Options] = {
    'dsod_whole': (),
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
    return [*(Run('dsod', DSOD, seed) for seed in seeds), *twins(seeds, (4,))]


def dsod_ablation(seeds: Sequence[int]) -> list[Run]:
    """DSOD as it is, and without each of its parts."""
    return [
        Run(name, DSOD_LARGE, seed, options) for name, options in ABLATION.items() for seed in seeds
    ]

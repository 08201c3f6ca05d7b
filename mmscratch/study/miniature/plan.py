"""What the study trains: lengths, initializations, and the runs of each claim for one seed."""

from mmscratch.study.miniature import data
from mmscratch.study.run import Options, Run, subset
from mmscratch.study.schedule import Schedule

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
SCHEDULE = Schedule(one=225, first_drop=150, second_drop=50)
LENGTHS = (1, 2, 3, 4, 5, 6)
SHORTEST, LONGEST = LENGTHS[0], LENGTHS[-1]
# for claims that need no curve
COARSE_LENGTHS = (1, 3, 6)
INITIALIZATIONS = ('scratch', 'pretrained')
# images of the detection data in the subsets of claims 5 and 6
TENTH, HUNDREDTH = 300, 30
# added to claims 1, 3 and 5, where AP still rose at 6x; trained in one go
LONGER = 12
# of claim 5: prefix of the runs' names -> images, lengths
SUBSETS = {
    'tenth_': (TENTH, (*COARSE_LENGTHS, LONGER)),
    'hundredth_': (HUNDREDTH, COARSE_LENGTHS),
}


def run_of(
    name: str, config: str, seed: int, options: Options = (), weights: Run | None = None
) -> Run:
    """A run on the config's own data."""
    return Run(name, config, seed, data.of_config(config), options, weights)


def pre_training(seed: int, config: str = CLASSIFIER) -> Run:
    """The stand-in for ImageNet pre-training."""
    name = 'classifier_bn' if config == CLASSIFIER_BN else 'classifier'
    return run_of(name, config, seed)


def constant_part(
    name: str,
    seed: int,
    weights: Run | None = None,
    options: Options = (),
    longest: int = LONGEST,
    config: str = DETECTOR,
) -> Run:
    """The constant learning rate, as long as the longest schedule has it."""
    run = run_of(name, config, seed, options, weights)
    return SCHEDULE.trunk(run, SHORTEST, longest)


def twins(
    seed: int,
    lengths: tuple[int, ...],
    prefix: str = '',
    config: str = DETECTOR,
    classifier: str = CLASSIFIER,
    options: Options = (),
) -> list[Run]:
    """Schedules of these lengths, from random and from pre-trained weights."""
    runs = []
    for kind in INITIALIZATIONS:
        weights = pre_training(seed, classifier) if kind == 'pretrained' else None
        name = prefix + kind
        parent = constant_part(name, seed, weights, options, config=config)
        runs += [
            SCHEDULE.branch(f'{name}_{length}x', length, parent, options) for length in lengths
        ]
    return runs


# Learning rate -> run; the study's own is in the config.
LEARNING_RATES = {
    0.02: 'pretrained_lr0.02_2x',
    0.04: 'pretrained_lr0.04_2x',
    0.08: 'pretrained_2x',
    0.16: 'pretrained_lr0.16_2x',
}


def learning_rates(seed: int) -> list[Run]:
    """2x with pre-training at several learning rates."""
    runs = []
    weights = pre_training(seed)
    for lr, name in LEARNING_RATES.items():
        is_shared = name == 'pretrained_2x'
        options = () if is_shared else (('optim_wrapper.optimizer.lr', lr),)
        end = LONGEST if is_shared else 2
        parent = constant_part(name.removesuffix('_2x'), seed, weights, options, end)
        runs.append(SCHEDULE.branch(name, 2, parent, options))
    return runs


def longer(seed: int, prefix: str = '', config: str = DETECTOR, options: Options = ()) -> list[Run]:
    """``LONGER`` from random and from pre-trained weights."""
    options = (*options, *SCHEDULE.whole(LONGER, LONGER // 6))
    return [
        run_of(f'{prefix}{kind}_{LONGER}x', config, seed, options, weights)
        for kind, weights in zip(INITIALIZATIONS, (None, pre_training(seed)))
    ]


def schedules(seed: int) -> list[Run]:
    """Every length from random and from pre-trained weights."""
    return [*twins(seed, LENGTHS), *longer(seed)]


def batch_norm(seed: int) -> list[Run]:
    """Twins with BN over 8 images, and BN from scratch over 2 and over 1, as GN too at 3x."""
    small = {
        images: (('train_dataloader.batch_size', images), *SCHEDULE.whole(3, 3))
        for images in (2, 1)
    }
    return [
        *twins(seed, (SHORTEST, LONGEST), 'bn_', DETECTOR_BN, CLASSIFIER_BN),
        SCHEDULE.branch('scratch_3x', 3, constant_part('scratch', seed)),
        *(run_of(f'bn{n}_scratch_3x', DETECTOR_BN, seed, options) for n, options in small.items()),
    ]


def less_data(seed: int) -> list[Run]:
    """Twins on a tenth and on a hundredth of the images, and on the tenth for longer too."""
    tenth, hundredth = (
        twins(seed, COARSE_LENGTHS, prefix, DETECTOR_MS, options=subset(images))
        for prefix, (images, _) in SUBSETS.items()
    )
    tenth += longer(seed, 'tenth_', DETECTOR_MS, subset(TENTH))
    return tenth + hundredth


def sparse(seed: int) -> list[Run]:
    """Twins on as many images with few instances and classes, and with many."""
    return [
        *twins(seed, COARSE_LENGTHS, 'sparse_', DETECTOR_SPARSE),
        *twins(seed, COARSE_LENGTHS, 'tenth_', DETECTOR_MS, options=subset(TENTH)),
    ]


def vgg(seed: int) -> list[Run]:
    """VGG without normalization, by its convolutions' and layers' initialization."""
    rule = 'default_hooks.init.rules.0'
    gaussian = ((f'{rule}.fill', 'gaussian'), (f'{rule}.std', 0.01))
    return [run_of('vgg_msra', VGG, seed), run_of('vgg_gaussian', VGG, seed, gaussian)]


def frozen(seed: int) -> list[Run]:
    """3x from scratch, as it is and with stem and first stage left at their random weights."""
    freeze = (
        ('model.backbone.frozen_stages', 1),
        ('default_hooks.preflight.allow', ['frozen', 'norm_eval']),
    )
    parent = constant_part('frozen', seed, options=freeze, longest=3)
    return [
        SCHEDULE.branch('scratch_3x', 3, constant_part('scratch', seed)),
        SCHEDULE.branch('frozen_3x', 3, parent, freeze),
    ]


def early_drop(seed: int) -> list[Run]:
    """2x and 6x from scratch, and 6x with the first drop where 2x has it."""
    parent = constant_part('scratch', seed)
    return [
        *(SCHEDULE.branch(f'scratch_{length}x', length, parent) for length in (2, 6)),
        SCHEDULE.branch('scratch_6x_early_drop', 6, parent, drop_at=2),
    ]


def keypoints(seed: int) -> list[Run]:
    """Twins of a Keypoint R-CNN, and of the Mask R-CNN whose boxes they are compared with."""
    return [
        *twins(seed, COARSE_LENGTHS, 'keypoint_', KEYPOINT_DETECTOR),
        *twins(seed, COARSE_LENGTHS),
    ]


# DSOD whole, and without one of its parts each; the head's channels follow.
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


def one_stage(seed: int) -> list[Run]:
    """DSOD, and the two-stage detector from scratch and pre-trained at as many images."""
    return [run_of('dsod', DSOD, seed), *twins(seed, (4,))]


def dsod_ablation(seed: int) -> list[Run]:
    """DSOD as it is, and without each of its parts."""
    return [run_of(name, DSOD_LARGE, seed, options) for name, options in ABLATION.items()]

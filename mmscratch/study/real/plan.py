"""What the study of real images trains."""

from mmscratch.study.real import data
from mmscratch.study.run import Options, Run
from mmscratch.study.schedule import Schedule

BOXES = {
    'scratch': 'configs/scratch/faster_rcnn_lite0_bn_1200i_shapes.py',
    'pretrained': 'configs/pretrained/faster_rcnn_lite0_bn_1200i_shapes.py',
}
MASKS = {
    'scratch': 'configs/scratch/mask_rcnn_lite0_bn_1200i_shapes.py',
    'pretrained': 'configs/pretrained/mask_rcnn_lite0_bn_1200i_shapes.py',
}
# 1x is 250 iterations of 8 images; the drops are the paper's, at the same share of 1x
SCHEDULE = Schedule(one=250, first_drop=167, second_drop=56)
LENGTHS = (1, 2, 4, 8)
SHORTEST, LONGEST = LENGTHS[0], LENGTHS[-1]
INITIALIZATIONS = ('scratch', 'pretrained')
# part of a data set -> its name, and images of a nested subset; None is all of them
PARTS = {
    'deeppcb60': ('deeppcb', 60),
    'deeppcb250': ('deeppcb', 250),
    'deeppcb': ('deeppcb', None),
    'bccd': ('bccd', None),
    'nuclei': ('nuclei_dsb2018', None),
}
LEARNING_RATES = (0.02, 0.04, 0.08, 0.16)


def _options(part: str) -> Options:
    images = PARTS[part][1]
    # validation does not depend on it: images of a batch have one size, or are padded
    options: Options = (('val_dataloader.batch_size', 8),)
    if images:
        sampler = 'train_dataloader.sampler'
        options += ((f'{sampler}.subset', images), (f'{sampler}.subset_seed', 0))
    return options


def trunk(part: str, arm: str, seed: int, options: Options = (), longest: int = LONGEST) -> Run:
    """The constant learning rate of an initialization on a part of the data."""
    name = PARTS[part][0]
    config = (MASKS if name == 'nuclei_dsb2018' else BOXES)[arm]
    run = Run(f'{part}_{arm}', config, seed, data.of(name), (*_options(part), *options))
    return SCHEDULE.trunk(run, SHORTEST, longest, validate=SCHEDULE.branch_point(longest))


def twins(seed: int, part: str) -> list[Run]:
    """Every length, from random and from ImageNet's weights."""
    runs = []
    for arm in INITIALIZATIONS:
        parent = trunk(part, arm, seed)
        runs += [
            SCHEDULE.branch(f'{part}_{arm}_{n}x', n, parent, _options(part)) for n in LENGTHS
        ]
    return runs

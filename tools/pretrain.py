"""Pre-train the backbone of a detector on your own images, without labels.

    python tools/pretrain.py CONFIG --images DIR
    python tools/train.py CONFIG --data DATA --init WORK_DIR/backbone.pth

CONFIG is any detector's; only its backbone and the normalization of its images are used. Images are
those in DIR and in the folders within it; leave out those that you test with. As in training they
may have any number of channels, of 8 or 16 bits or float; --channels chooses. --cfg-options changes
the recipe, configs/_base_/pretraining.py.

Outputs go to work_dirs/, under the config's path: log, curves.png, checkpoints, and at the end
backbone.pth, the weights.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmscratch import command_line
from mmscratch.config import (
    config_check,
    pretraining_recipe,
    schedule_length,
    work_dir,
)
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import cpu_threads

# lambda of DenseCL; MoCo v2 has no dense loss
METHODS = {'densecl': 0.5, 'moco': 0.0}
BATCH_OF_LR = 32  # that the recipe's rate is for
# Keys that --cfg-options cannot set, since these options do.
OPTIONS = {
    'work_dir': '--work-dir',
    'resume': '--resume',
    'load_from': '--init',
    'train_cfg.max_iters': '--iterations',
    'train_dataloader.batch_size': '--batch-size',
    'randomness.seed': '--seed',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('--images', type=Path, nargs='+', required=True, metavar='DIR')
    command_line.add_channels_option(parser, '--images')
    parser.add_argument('--iterations', type=int, metavar='N', help='default: 2000')
    parser.add_argument(
        '--method',
        choices=list(METHODS),
        default='densecl',
        help='DenseCL contrasts images and cells of the feature map (default); MoCo v2 images only',
    )
    parser.add_argument('--size', type=int, default=192, help='side of the views in pixels')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=32,
        metavar='N',
        help='images an iteration; the learning rate changes in proportion',
    )
    parser.add_argument('--init', metavar='FILE', help='begin with these weights, as in train.py')
    command_line.add_resume_option(parser)
    parser.add_argument('--seed', type=int, default=0, help='of weights, order and views')
    command_line.add_run_options(parser)
    args = parser.parse_args()
    command_line.check_run_options(parser, args)
    for option, least in (('size', 32), ('batch_size', 2)):
        if getattr(args, option) < least:
            parser.error(f'--{option.replace("_", "-")} is at least {least}')
    return args


def configure(args: argparse.Namespace) -> Config:
    """Combine the recipe, the detector's backbone and the command line."""
    command_line.refuse_keys(args.cfg_options, OPTIONS)
    detector = config_check.load(args.config)
    cfg = pretraining_recipe.recipe_of(detector)
    cfg.model.dense_weight = METHODS[args.method]
    cfg.train_dataloader.dataset.folders = [str(folder) for folder in args.images]
    cfg.train_dataloader.dataset.pipeline[-1].size = args.size
    cfg.train_dataloader.batch_size = args.batch_size
    cfg.optim_wrapper.optimizer.lr *= args.batch_size / BATCH_OF_LR
    if args.iterations:
        schedule_length.set_iterations(cfg, args.iterations)
    fit_to_images(cfg, detector.model.data_preprocessor, args.channels)
    config_check.apply_options(cfg, args.cfg_options)
    default = work_dir.default_work_dir(
        args.config, args.images[0], args.init, channels=args.channels
    )
    default = default.with_name(f'{default.name}_{args.method}')
    cfg.work_dir = str(args.work_dir or default)
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': args.seed}
    cfg.resume = args.resume is not None
    cfg.load_from = args.resume or args.init
    cfg.default_hooks.preflight.init = 'pretrained' if args.init else 'random'
    cfg.launcher = 'none'
    fit_to_runner(cfg)
    return cfg


def fit_to_images(cfg: Config, preprocessor: dict, channels: list[int] | None) -> None:
    """Normalize as the detector would after a training on such images."""
    from mmscratch.data import sensor

    own, cfg.model.data_preprocessor = cfg.model.data_preprocessor, preprocessor
    sensor.fit(cfg, channels)
    fitted, cfg.model.data_preprocessor = cfg.model.data_preprocessor, own
    pretraining_recipe.normalize_as(cfg, fitted)


def queue_length(images: int, batch_size: int) -> int:
    """Half of the images, in whole batches; see DenseCL."""
    return max(1, images // 2 // batch_size) * batch_size


def main(args: argparse.Namespace) -> None:
    cfg = configure(args)
    with work_dir.locked(Path(cfg.work_dir)):
        train(args, cfg)


def train(args: argparse.Namespace, cfg: Config) -> None:
    config_check.check_keys(cfg)

    from mmengine.runner import Runner

    from mmscratch.data import unlabelled_images
    from mmscratch.data.samplers.subset import read_ids
    from mmscratch.hooks.named_errors_hook import NamedErrorsHook
    from mmscratch.weights import resumption

    pipeline = cfg.train_dataloader.dataset.pipeline
    images = unlabelled_images.check(args.images, pipeline)
    note = ''
    if args.resume == 'latest':
        latest, note = resumption.newest_whole(Path(cfg.work_dir))
        cfg.load_from = latest and str(latest)
    work_dir.claim(Path(cfg.work_dir), args.config, args.resume)
    if (subset := cfg.train_dataloader.sampler.get('subset')) is not None:
        images = subset if isinstance(subset, int) else len(read_ids(subset))
    if args.batch_size > images:
        raise InputError(
            f'--batch-size {args.batch_size}: a step would take some of the {images} images twice, '
            'with equal views, and contrast them; give at most the number of images'
        )
    if cfg.model.queue_length is None:
        cfg.model.queue_length = queue_length(images, args.batch_size)
    threads = cpu_threads.fit(cfg, args.cfg_options)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(NamedErrorsHook())
    for line in (
        threads,
        *filter(None, [note]),
        f'{args.method}: {images:,} images, {args.batch_size} images/step, '
        f'views of {pipeline[-1].size} pixels, queue of {cfg.model.queue_length}, '
        f'lr {cfg.optim_wrapper.optimizer.lr:g}',
    ):
        print_log(line, logger='current')
    runner.train()


if __name__ == '__main__':
    with one_line_errors('interrupted; --resume goes on from the last checkpoint, if any'):
        main(parse_args())

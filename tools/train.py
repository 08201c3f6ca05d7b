"""Train a detector.

    python tools/train.py configs/scratch/mask_rcnn_r18_gn_600i_shapes.py
    python tools/train.py CONFIG --data DIR          # your own images, in README's layouts
    python tools/train.py CONFIG --init FILE         # begin with these weights
    python tools/train.py CONFIG --init FILE --freeze    # and train neck and heads alone
    python tools/train.py CONFIG --scale 0.5         # on images of half the size
    python tools/train.py CONFIG --resume            # go on where the run was stopped
    python tools/train.py CONFIG --trial             # what would it take? Leaves nothing behind
    tools/dist_train.sh CONFIG 8                     # 8 GPUs; see also slurm_train.sh

Outputs go to work_dirs/, under the config's path, if it has no work_dir of its own: log,
metrics.json, curves.png, pictures/, the last and the best checkpoint.
"""

import argparse
import contextlib
import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.logging import print_log

from mmscratch import command_line
from mmscratch.config import (
    batch_plan,
    config_check,
    distributed,
    schedule_length,
    work_dir,
)
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.data import layouts
from mmscratch.errors import InputError, one_line_errors
from mmscratch.ops import backend
from mmscratch.process import cpu_threads, stop_signals
from mmscratch.weights import resumption

if TYPE_CHECKING:
    from mmengine.runner import Runner

# Keys that --cfg-options cannot set, since these options do.
OPTIONS = {
    'work_dir': '--work-dir',
    'resume': '--resume',
    'launcher': '--launcher',
    'load_from': '--init',
    'train_cfg.accumulation': '--batch accumulate',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    command_line.add_options(parser)
    command_line.add_resume_option(parser)
    parser.add_argument(
        '--requeue',
        action='store_true',
        help='in a batch script of Slurm: go on from the last checkpoint if there is one, and put '
        'the job into the queue again when a signal stops the run (sbatch --signal=USR1@120)',
    )
    parser.add_argument(
        '--init',
        metavar='FILE',
        help='begin with these weights: a ResNet or VGG of torchvision, timm, MMDetection, '
        'Detectron or detectron2, a MoCo checkpoint, or a detector of the same architecture (of '
        'MMDetection, or an R-CNN with FPN of detectron2), whatever its classes; a .pth, '
        '.safetensors or .pkl file, its URL, or package://PACKAGE/PATH in an installed package',
    )
    parser.add_argument(
        '--freeze',
        action='store_true',
        help='keep the pre-trained backbone as it is, and train neck and heads alone; with --init '
        'or a config of configs/pretrained/',
    )
    parser.add_argument(
        '--amp',
        action='store_const',
        const='float16',
        help='automatic mixed precision in float16, with scaled losses',
    )
    parser.add_argument(
        '--amp-bfloat16',
        dest='amp',
        action='store_const',
        const='bfloat16',
        help='the same in bfloat16, which needs no scaling, on a GPU of 2020 (Ampere) or later',
    )
    parser.add_argument(
        '--seed', type=int, help="of weights and order (default: the config's, or 0)"
    )
    parser.add_argument(
        '--iterations',
        type=int,
        metavar='N',
        help="end after N iterations (optimizer steps, of the recipe's images; --batch scale "
        'scales N, too). Drops of the learning rate keep their distance from the end, or move in '
        'proportion where the run is short, as does the end of a warm-up that would not fit',
    )
    parser.add_argument(
        '--batch',
        choices=['accumulate', 'scale'],
        default='accumulate',
        help="where the GPUs take other than the recipe's images at a time: accumulate gradients "
        'over several passes (default), or scale learning rate and iterations',
    )
    parser.add_argument(
        '--skip-decoding',
        action='store_true',
        help='do not decode every image before the first training on it; a damaged one is met when '
        'its turn comes',
    )
    parser.add_argument(
        '--trial',
        action='store_true',
        help='take a few steps, a validation of a few images, a checkpoint and its resumption in a '
        'temporary folder, and say what the whole run would take; no image is decoded before',
    )
    args = parser.parse_args()
    command_line.check_run_options(parser, args)
    if args.requeue and 'SLURM_JOB_ID' not in os.environ:
        parser.error('--requeue is for a job of Slurm, and SLURM_JOB_ID is not set')
    if args.trial and args.resume:
        parser.error('--trial tries a run from its start: leave out --resume')
    return args


def configure(args: argparse.Namespace) -> Config:
    """Load the config and change it as the command line says."""
    command_line.refuse_keys(args.cfg_options, OPTIONS)
    cfg = config_check.load(args.config, args.cfg_options)
    config_check.require(
        cfg,
        'train_cfg',
        'train_dataloader.batch_size',
        'train_dataloader.dataset',
        'optim_wrapper.optimizer.lr',
    )
    command_line.apply_options(cfg, args)
    if args.iterations:
        schedule_length.set_iterations(cfg, args.iterations)
    default = work_dir.default_work_dir(
        args.config, args.data, args.init, args.freeze, args.scale, args.channels
    )
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or default)
    cfg.randomness = {'seed': 0, **(cfg.get('randomness') or {})}
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.init:
        cfg.load_from = args.init
        cfg.default_hooks = cfg.get('default_hooks') or {}
        cfg.default_hooks.setdefault('preflight', dict(type='PreflightHook'))
        if cfg.default_hooks.preflight is not None:  # None: disabled
            cfg.default_hooks.preflight.init = 'pretrained'
    if args.freeze:
        cfg.default_hooks = cfg.get('default_hooks') or {}
        cfg.default_hooks.frozen_backbone = dict(type='FrozenBackboneHook')
    # a resumed run has dumped its checkpoint as load_from, which is no initialization
    was_resumed = cfg.get('resume')
    if args.requeue:
        # the command of a job that was requeued still names the checkpoint that it began with
        has_restarted = os.environ.get('SLURM_RESTART_COUNT', '0') != '0'
        folder = work_dir.checkpoint_folder(Path(cfg.work_dir), out_dir_of(cfg))
        if (args.resume is None or has_restarted) and work_dir.saved_checkpoints(folder):
            args.resume = 'latest'
    cfg.resume = args.resume is not None
    if cfg.resume or (was_resumed and not args.init):
        cfg.load_from = args.resume
    if args.amp:
        import torch

        if not torch.cuda.is_available():
            raise InputError('--amp needs a GPU, and there is none: leave it out')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if args.amp == 'bfloat16':
            # float32's range: no loss underflows, and a scaler would wait for the GPU at each step
            cfg.optim_wrapper.update(dtype='bfloat16', loss_scale=dict(enabled=False))
    fit_to_runner(cfg)
    return cfg


def out_dir_of(cfg: Config) -> str | None:
    """``out_dir`` of the config's CheckpointHook."""
    return ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')


def build_runner(cfg: Config) -> 'Runner':
    """Build the Runner, with the hooks that every run has whatever its config."""
    from mmengine.runner import Runner

    from mmscratch.hooks.named_errors_hook import NamedErrorsHook
    from mmscratch.hooks.own_folder_hook import OwnFolderHook
    from mmscratch.hooks.rank_watch_hook import RankWatchHook

    runner = Runner.from_cfg(cfg)
    runner.register_hook(OwnFolderHook())
    runner.register_hook(NamedErrorsHook())
    runner.register_hook(RankWatchHook())
    # mmengine logs the rate and the decay of every parameter, two lines each
    runner.logger.addFilter(lambda record: 'paramwise_options' not in record.getMessage())
    return runner


def main(args: argparse.Namespace) -> None:
    try:
        cfg = configure(args)
        is_main = distributed.is_main_process(args.launcher)
        folders = Path(cfg.work_dir), out_dir_of(cfg)
        # held before a checkpoint is chosen: the run before may still save
        with work_dir.locked(*folders) if is_main and not args.trial else contextlib.nullcontext():
            train(args, cfg)
    except BaseException as error:
        # also what the interruption broke on its way
        is_stopped = isinstance(error, KeyboardInterrupt) or stop_signals.is_ending()
        if args.requeue and is_stopped and distributed.is_main_process(args.launcher):
            stop_signals.requeue()
        raise
    distributed.leave()


def train(args: argparse.Namespace, cfg: Config) -> None:
    config_check.check_keys(cfg)
    plan = batch_plan.plan_batch(cfg, distributed.world_size(args.launcher), args.batch)
    folders = Path(cfg.work_dir), out_dir_of(cfg)
    note = ''
    if args.resume == 'latest':
        latest, note = resumption.newest_whole(*folders)
        # without one the claim on the folder fails
        cfg.load_from = latest and str(latest)
    reports = []
    if distributed.is_main_process(args.launcher):
        if not args.trial:
            folder, out_dir = folders
            note += work_dir.claim(folder, args.config, args.resume, out_dir, anew=args.requeue)
        reports = layouts.check(cfg, decode=not (args.skip_decoding or args.trial))
    layouts.share_parsed_files(cfg)
    distributed.prepare_for_cpu(cfg)
    threads = cpu_threads.fit(cfg, args.cfg_options)

    from mmscratch.benchmark import trial

    with trial.prepared(cfg) if args.trial else contextlib.nullcontext():
        runner = build_runner(cfg)
        lines = [line for report in reports for line in report.lines()]
        lines += [
            backend.describe(),
            threads,
            *filter(None, [note]),
            *([trial.NOTE] if args.trial else []),
        ]
        for line in lines:
            print_log(line, logger='current')
        # MMDetection makes millions of objects of a large JSON, none of them garbage
        gc.disable()
        loader = runner.train_dataloader
        gc.enable()
        images = getattr(loader.batch_sampler.sampler, 'subset_size', len(loader.dataset))
        print_log(plan.describe(images), logger='current')
        if args.trial:
            trial.run(runner, cfg, plan, build_runner)
        else:
            runner.train()


if __name__ == '__main__':
    arguments = parse_args()
    with one_line_errors(
        'interrupted; a trial leaves nothing behind'
        if arguments.trial
        else 'interrupted; --resume goes on from the last checkpoint, if any'
    ):
        main(arguments)

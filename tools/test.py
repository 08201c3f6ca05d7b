"""Evaluate a checkpoint: the numbers go to the log and to test_metrics.json, COCO's per class too.

python tools/test.py CONFIG CHECKPOINT [--data DIR] [--tta]
python tools/test.py CONFIG CHECKPOINT --data DIR --tiles 640    # whole images, tile by tile
tools/dist_test.sh CONFIG CHECKPOINT 8
"""

import argparse
import logging
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch import command_line
from mmscratch.config import config_check, distributed, work_dir
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.config.sections import as_list
from mmscratch.data import layouts, repoint, sensor_match
from mmscratch.data.transforms.tile_views import tiled_pipeline
from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import cpu_threads
from mmscratch.weights import checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    command_line.add_options(parser)
    views = parser.add_mutually_exclusive_group()
    command_line.add_tile_options(parser, views)
    views.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: merge boxes and masks over scales and flips; takes about as '
        'many times as long as there are views (tta_pipeline in the config)',
    )
    return parser.parse_args()


def configure(args: argparse.Namespace) -> Config:
    """Load the config and change it as the command line says."""
    cfg = config_check.load(args.config, args.cfg_options)
    config_check.require(cfg, 'test_dataloader.dataset')
    command_line.apply_options(cfg, args, trains=False)
    folder = args.work_dir or work_dir.default_work_dir(
        args.config, args.data, channels=args.channels
    )
    if args.work_dir is None:
        folder /= 'test_tta' if args.tta else 'test_tiles' if args.tiles else 'test'
    cfg.work_dir = str(folder)
    cfg.load_from = str(args.checkpoint)
    fit_to_runner(cfg)
    return cfg


def augment(cfg: Config) -> None:
    """Test with the config's tta_model and tta_pipeline in place of the model and the pipeline.

    Raises:
        InputError: the config lacks one of them.
    """
    missing = [key for key in ('tta_model', 'tta_pipeline') if not cfg.get(key)]
    if missing:
        raise InputError(
            f'{cfg.filename}: --tta needs {" and ".join(missing)}, which the config lacks; inherit '
            'or copy them from configs/_base_/datasets/coco_instance.py, or leave out --tta'
        )
    cfg.model = ConfigDict(cfg.tta_model, module=cfg.model)
    for dataset in repoint.datasets(cfg, 'test'):
        dataset['pipeline'] = cfg.tta_pipeline


def use_tiles(cfg: Config, size: int, overlap: float) -> None:
    """Test on tiles, whose detections are merged and evaluated on whole images.

    Raises:
        InputError: the evaluator is VOC's, which takes the truth from the data set.
    """
    if not all(metric.get('ann_file') for metric in as_list(cfg.test_evaluator)):
        raise InputError(f"{cfg.filename}: --tiles needs COCO's metric and a folder in COCO layout")
    cfg.model = ConfigDict(type='TiledModel', module=cfg.model)
    cfg.test_dataloader.batch_size = 1
    # it draws the truth, which is not loaded
    cfg.get('default_hooks', {}).pop('visualization', None)
    for dataset in repoint.datasets(cfg, 'test'):
        dataset['pipeline'] = list(tiled_pipeline(dataset['pipeline'], size, overlap))


def main() -> None:
    args = parse_args()
    cfg = configure(args)
    config_check.check_keys(cfg)
    if args.tta:
        augment(cfg)
    if args.tiles:
        use_tiles(cfg, args.tiles, args.overlap)
    reports, remarks = [], []
    if distributed.is_main_process(args.launcher):
        work_dir.require_writable(Path(cfg.work_dir), '--work-dir')
        loaded = checkpoint.load(args.checkpoint)  # says what is wrong with the file in one line
        reports = layouts.check(cfg, ['test'])
        remarks = sensor_match.check(cfg, loaded, args.checkpoint)
        del loaded
    layouts.share_parsed_files(cfg, ['test'])
    distributed.prepare_for_cpu(cfg)
    threads = cpu_threads.fit(cfg, args.cfg_options, 'test')

    from mmengine.runner import Runner

    from mmscratch.hooks.class_names_hook import ClassNamesHook
    from mmscratch.hooks.named_errors_hook import NamedErrorsHook

    # a hook that asks for the iteration would have the training data loaded
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    runner = Runner.from_cfg(cfg)
    for line in [line for report in reports for line in report.lines()] + [threads]:
        print_log(line, logger='current')
    for remark in remarks:
        print_log(remark, logger='current', level=logging.WARNING)
    runner.register_hook(ClassNamesHook())
    runner.register_hook(NamedErrorsHook())
    runner.test()
    distributed.leave()


if __name__ == '__main__':
    with one_line_errors():
        main()

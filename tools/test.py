"""Evaluate a checkpoint: the numbers go to the log and to test_metrics.json, COCO's per class too.

python tools/test.py CONFIG CHECKPOINT [--data DIR] [--tta]
tools/dist_test.sh CONFIG CHECKPOINT 8
"""

import argparse
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmscratch.config import config_check, distributed, work_dir
from mmscratch.config.cfg_options import CfgOptions
from mmscratch.config.detection_limit import set_max_detections
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.data import coco_check, coco_folder, coco_json, voc_check, voc_folder
from mmscratch.errors import InputError, one_line_errors
from mmscratch.weights import checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='test on this folder in COCO or PASCAL VOC layout',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: merge boxes and masks over scales and flips; takes about as '
        'many times as long as there are views (tta_pipeline in the config)',
    )
    parser.add_argument('--work-dir', type=Path, metavar='DIR', help='where the outputs go')
    parser.add_argument(
        '--drop-bad-boxes',
        action='store_true',
        help='go on in spite of boxes without area or outside of their image, in place of stopping '
        'at them; the evaluation of COCO counts them still',
    )
    parser.add_argument(
        '--max-detections',
        type=int,
        metavar='N',
        help="keep N detections an image and let COCO's metric count them, for images with more "
        'than 100 objects',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE'
    )
    return parser.parse_args()


def configure(args: argparse.Namespace) -> Config:
    """The config with the command line's wishes in it."""
    cfg = config_check.load(args.config, args.cfg_options)
    config_check.require(cfg, 'test_dataloader.dataset')
    if args.data:
        layout = voc_folder if voc_folder.is_voc(args.data) else coco_folder
        layout.point_config_at(cfg, layout.find(args.data))
        # what a config says of it is about its own data
        if 'drop_bad_boxes' not in args.cfg_options:
            cfg.drop_bad_boxes = False
    if args.drop_bad_boxes:
        cfg.drop_bad_boxes = True
    if args.max_detections is not None:
        set_max_detections(cfg, args.max_detections)
    folder = args.work_dir or work_dir.default_work_dir(args.config, args.data)
    if args.work_dir is None:
        folder /= 'test_tta' if args.tta else 'test'
    cfg.work_dir = str(folder)
    cfg.launcher = args.launcher
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
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline


def main() -> None:
    args = parse_args()
    cfg = configure(args)
    config_check.check_keys(cfg)
    if args.tta:
        augment(cfg)
    reports = []
    if distributed.is_main_process(args.launcher):
        checkpoint.load(args.checkpoint)  # says what is wrong with the file in one line
        for check in (coco_check, voc_check):
            reports += check.check_config(cfg, splits=['test'])
    coco_json.forget()
    if args.launcher == 'pytorch':
        distributed.prepare_for_cpu(cfg)

    from mmengine.runner import Runner

    from mmscratch.hooks.class_names_hook import ClassNamesHook
    from mmscratch.hooks.named_errors_hook import NamedErrorsHook

    runner = Runner.from_cfg(cfg)
    for line in [line for report in reports for line in report.lines()]:
        print_log(line, logger='current')
    runner.register_hook(ClassNamesHook())
    runner.register_hook(NamedErrorsHook())
    runner.test()
    distributed.leave()


if __name__ == '__main__':
    with one_line_errors():
        main()

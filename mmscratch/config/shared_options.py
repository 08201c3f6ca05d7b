"""The options that training and testing have in common, and what they do to a config."""

import argparse
from pathlib import Path

from mmengine.config import Config

from mmscratch.config.cfg_options import CfgOptions
from mmscratch.config.detection_limit import set_max_detections
from mmscratch.data.layouts import use_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of a tool."""
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='use this folder in COCO or PASCAL VOC layout in place of the data of the config',
    )
    parser.add_argument('--work-dir', type=Path, metavar='DIR', help='where the outputs go')
    parser.add_argument(
        '--drop-bad-boxes',
        action='store_true',
        help='leave out boxes without area or outside of their image, in place of stopping at '
        "them; COCO's evaluation counts them still",
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


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Let a config do what they say; ``--work-dir`` is left to the tool."""
    if args.data:
        use_folder(cfg, args.data)
        # The config's own values are about the config's own data.
        if 'drop_bad_boxes' not in args.cfg_options:
            cfg.drop_bad_boxes = False
        if 'train_dataloader.sampler.subset' not in args.cfg_options:
            ((cfg.get('train_dataloader') or {}).get('sampler') or {}).pop('subset', None)
    if args.drop_bad_boxes:
        cfg.drop_bad_boxes = True
    if args.max_detections is not None:
        set_max_detections(cfg, args.max_detections)
    cfg.launcher = args.launcher

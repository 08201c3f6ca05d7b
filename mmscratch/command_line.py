"""The options that several tools share, and what they do to a config."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmscratch.config.detection_limit import set_max_detections
from mmscratch.config.image_scale import scale_images
from mmscratch.data.layouts import use_folder
from mmscratch.errors import InputError


class CfgOptions(DictAction):
    """MMEngine's ``DictAction``; what is not KEY=VALUE is a usage error, not a traceback."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the values to the dict in the namespace."""
        for item in values:
            key, equals, _ = item.partition('=')
            if not (key and equals):
                raise argparse.ArgumentError(self, f'{item!r} is not of the form KEY=VALUE')
            try:
                super().__call__(parser, namespace, [item], option_string)
            except AssertionError:
                raise argparse.ArgumentError(self, f'{item!r}: its brackets do not match') from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the shared options to the parser of a tool."""
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='use this folder in place of the data of the config: COCO, PASCAL VOC, YOLO, LabelMe, '
        'or an export of Roboflow, CVAT or Label Studio',
    )
    add_channels_option(parser, '--data')
    parser.add_argument(
        '--shown-channels',
        type=int,
        nargs='+',
        metavar='N',
        help='show these three, or this one, in pictures (default: the first ones)',
    )
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
    parser.add_argument(
        '--scale',
        type=float,
        metavar='F',
        help='images of F times the size that the config gives them, such as 0.5',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    add_run_options(parser)


def add_channels_option(parser: argparse.ArgumentParser, images: str) -> None:
    """Add ``--channels``, of what another option names."""
    parser.add_argument(
        '--channels',
        type=int,
        nargs='+',
        metavar='N',
        help=f'train on these channels of the images of {images}, counted from 1 (default: colour '
        'as ever; of 16 bits, float or more channels all)',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of any run, whatever it trains."""
    parser.add_argument('--work-dir', type=Path, metavar='DIR', help='where the outputs go')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, default={}, metavar='KEY=VALUE'
    )


def add_tile_options(parser: argparse.ArgumentParser, group: Any = None) -> None:
    """Add ``--tiles`` and ``--overlap``; the former to a group of options if there is one."""
    (group or parser).add_argument(
        '--tiles',
        type=int,
        metavar='PX',
        help='detect on tiles of this side and merge what is found, for images much larger than '
        'those of training. Take the size of the training tiles (tools/data/tiles.py)',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.2,
        metavar='F',
        help="least share of a tile's side that neighbours have in common, such that the largest "
        'object fits in (default 0.2)',
    )


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume``: None, ``'latest'`` or a checkpoint."""
    parser.add_argument(
        '--resume',
        nargs='?',
        const='latest',
        metavar='CHECKPOINT',
        help="go on from the work directory's last checkpoint, or from the one named",
    )


def check_run_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error if a value of the options that each training has is none of theirs."""
    # such as "$WEIGHTS" where the shell knows none
    for option in ('init', 'resume'):
        if getattr(args, option) == '':
            parser.error(f'--{option} is empty: name a file')
    if args.iterations is not None and args.iterations < 1:
        parser.error('--iterations is at least 1')
    if args.seed is not None and not 0 <= args.seed < 2**32:
        parser.error('--seed is 0 to 4294967295')


def refuse_keys(cfg_options: Mapping[str, Any], options: Mapping[str, str]) -> None:
    """Raise InputError for a key of ``--cfg-options`` that has an option of its own."""
    for key, option in options.items():
        if key in cfg_options:
            raise InputError(f'--cfg-options {key}={cfg_options[key]}: give it with {option}')


def apply_options(cfg: Config, args: argparse.Namespace, trains: bool = True) -> None:
    """Change a config as the options say. The tool itself handles ``--work-dir``.

    Args:
        cfg: changed in place.
        args: the options' values.
        trains: whether the model will be trained; another has its normalization in its weights.
    """
    if (args.channels or args.shown_channels) and not args.data:
        raise InputError('--channels and --shown-channels are of the images of --data: give it')
    if args.data:
        # what the config says of its own data does not hold for these
        if 'drop_bad_boxes' not in args.cfg_options:
            cfg.drop_bad_boxes = False
        sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
        for key in ('subset', 'labelled'):
            if f'train_dataloader.sampler.{key}' not in args.cfg_options:
                sampler.pop(key, None)
        use_folder(
            cfg,
            args.data,
            channels=args.channels,
            shown=args.shown_channels,
            measure=trains,
        )
    if args.drop_bad_boxes:
        cfg.drop_bad_boxes = True
    if args.max_detections is not None:
        set_max_detections(cfg, args.max_detections)
    if args.scale is not None:
        scale_images(cfg, args.scale)
    cfg.launcher = args.launcher

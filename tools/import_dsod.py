r"""Convert DSOD's released weights to a checkpoint, for tests and inference.

    python tools/import_dsod.py DSOD300.caffemodel OUT.pth \
        --config configs/dsod/dsod300_full_bn_100k_voc07p12.py
    python tools/test.py configs/dsod/dsod300_full_bn_100k_voc07p12.py OUT.pth
    python tools/infer.py OUT.pth IMAGES --out pictures/

github.com/szq0214/DSOD links the files. The config must have the same network and the same data
set, whose class names the checkpoint gets.
"""

import argparse
from pathlib import Path

import torch

from mmscratch.config import config_check
from mmscratch.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('caffemodel', type=Path)
    parser.add_argument('out', type=Path, help='checkpoint to write')
    parser.add_argument('--config', type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = config_check.load(args.config)

    from mmdet.registry import DATASETS, MODELS

    from mmscratch.models.dsod.caffe_weights import import_dsod

    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    weights = import_dsod(args.caffemodel, model, str(args.config))
    # lazy: only the class names are needed
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dataset.metainfo)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(meta=meta, state_dict=weights), args.out)
    print(f'{args.out}: {len(weights)} weights of {args.caffemodel}')


if __name__ == '__main__':
    with one_line_errors():
        main()

"""What tiles are worth: drawn images of 4,000 pixels with objects of 12 to 16 pixels.

    python tools/analysis/large_images.py --out results/tiles/tiles.json [--work work_dirs/tiles]

A small Mask R-CNN is trained on tiles, then tested on the same whole images in three ways: shrunk
to the size of its config, at full size in one pass, and on tiles. FILE has the AP of each. A step
whose result is in the working folder is not repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.data.tiles import convert
from mmscratch.errors import InputError, one_line_errors
from mmscratch.process import circumstances

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scratch/mask_rcnn_r18_gn_fast_shapes.py'
SIDE = 4000
DRAWN = ShapesConfig(
    size=SIDE, classes=3, objects=(60, 100), object_size=(0.003, 0.004), occlusion=0.1
)
TILE = 128  # side in pixels, as the config's images
ANCHORS = 'model.rpn_head.anchor_generator.scales=[4]'  # from 16 pixels on, in place of 32
# options of test.py, and values of the config
WAYS: dict[str, tuple[list[str], list[str]]] = {
    'shrunk': ([], []),
    'full size': ([], [f'test_dataloader.dataset.pipeline.1.scale=({SIDE},{SIDE})']),
    'tiles': (['--tiles', str(TILE)], []),
}
KEPT = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')


def run(tool: str, *arguments: str | Path) -> None:
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    if subprocess.call(command, cwd=ROOT):
        raise InputError(f'{tool} failed, see above')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE')
    parser.add_argument('--work', type=Path, default=Path('work_dirs/tiles'), metavar='DIR')
    parser.add_argument('--train', type=int, default=6, help='images (default 6)')
    parser.add_argument('--val', type=int, default=2, help='images (default 2)')
    args = parser.parse_args()
    work = args.work.resolve()
    whole, cut, trained = work / 'whole', work / 'cut', work / 'run'
    generate(whole, DRAWN, dict(train=args.train, val=args.val), workers=1)
    if not cut.is_dir():
        convert(whole, cut, TILE)
    checkpoint = trained / 'iter_250.pth'
    if not checkpoint.is_file():
        # validated on a few tiles alone
        few = ('--cfg-options', ANCHORS, 'val_dataloader.dataset.indices=32')
        run('train.py', CONFIG, '--data', cut, '--work-dir', trained, *few)
    found: dict[str, dict[str, Any]] = {}
    for way, (options, values) in WAYS.items():
        folder = work / f'test_{way.replace(" ", "_")}'
        if not (folder / 'test_metrics.json').is_file():
            common = ('--data', whole, '--work-dir', folder, '--max-detections', '300')
            changes = ('--cfg-options', ANCHORS, *values)
            run('test.py', CONFIG, checkpoint, *common, *options, *changes)
        test = json.loads((folder / 'test_metrics.json').read_text())['test']
        found[way] = {key: test[key] for key in KEPT}
    record = dict(
        command=f'large_images.py --train {args.train} --val {args.val}',
        config=CONFIG,
        seed=0,
        hardware=circumstances.hardware(),
        versions=circumstances.versions(),
        images=dict(train=args.train, val=args.val, side=SIDE, objects=DRAWN.objects),
        tiles=dict(side=TILE, overlap=0.2),
        found=found,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on'):
        main()

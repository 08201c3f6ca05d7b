"""Train on images whose objects one of five channels shows, with and without pre-trained weights.

    python tools/analysis/sensors.py --init work_dirs/demo/iter_250.pth --out results/sensors

The images are SHAPES as TIFF of five channels of 12 bits in uint16: channel 5 has the shapes, the
others smooth noise. Three runs a seed:

- ``widened``: the weights of --init, the first convolution widened to five channels
- ``random_first``: the same weights, the first convolution random
- ``scratch``: random weights

``ARM_seedN.json`` in --out is a run's metrics.json; a run whose file is there is left out.
tools/tables.py makes the table.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from mmscratch.data.image_check import needed
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError, one_line_errors

CONFIG = 'configs/scratch/mask_rcnn_r18_gn_fast_shapes.py'
WORK = Path('work_dirs/sensors')
ARMS = ('widened', 'random_first', 'scratch')
# small, for runs of minutes on one core: all three alike
SMALL = [
    'train_dataloader.batch_size=4',
    'auto_scale_lr.base_batch_size=4',
    'val_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
]
SIZE = 96
IMAGES = {'train': 400, 'val': 100}


def draw(root: Path) -> None:
    """Draw the data set; the same at each call."""
    tifffile = needed('tifffile', root)
    generate(root, ShapesConfig(size=SIZE), IMAGES, progress=False)
    for split in IMAGES:
        file = root / f'annotations/instances_{split}.json'
        content = json.loads(file.read_text())
        for row in content['images']:
            picture = root / split / row['file_name']
            read = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
            assert read is not None  # just drawn
            grey = read.astype(np.float32) / 255
            rng = np.random.default_rng([row['id'], len(split)])
            # smooth, and over the same range
            noise = [cv2.GaussianBlur(each, (0, 0), 2) for each in rng.random((4, *grey.shape))]
            noise = [(each - each.min()) / np.ptp(each) for each in noise]
            channels = np.round(4095 * np.stack([*noise, grey])).astype(np.uint16)
            row['file_name'] = f'{picture.stem}.tif'
            tifffile.imwrite(picture.with_suffix('.tif'), channels, photometric='minisblack')
            picture.unlink()
        file.write_text(json.dumps(content))


def train(arm: str, seed: int, init: str, data: Path, work_dir: Path) -> None:
    """Run an arm in a process of its own; its output goes to the terminal."""
    command = [sys.executable, 'tools/train.py', CONFIG, '--data', data, '--work-dir', work_dir]
    command += ['--seed', str(seed), *([] if arm == 'scratch' else ['--init', init])]
    command += ['--cfg-options', *SMALL]
    if arm == 'random_first':
        command.append('default_hooks.weights.random_first_layer=True')
    if subprocess.run([str(part) for part in command]).returncode:
        raise InputError(f'{arm}, seed {seed}: the run failed, see above')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--init', required=True, metavar='FILE', help='the checkpoint of make demo')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0], help='default 0')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = WORK / 'channel5'
    shutil.rmtree(WORK, ignore_errors=True)  # of a run that was interrupted
    draw(data)
    for seed in args.seeds:
        for arm in ARMS:
            file = args.out / f'{arm}_seed{seed}.json'
            if not file.exists():
                train(arm, seed, args.init, data, WORK / file.stem)
                shutil.copy(WORK / file.stem / 'metrics.json', file)


if __name__ == '__main__':
    with one_line_errors('interrupted; the same command goes on with the next run'):
        main()

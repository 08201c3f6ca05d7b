import json
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mmscratch.data import layouts
from mmscratch.data.samplers import AspectRatioGroupedBatchSampler, InfiniteSubsetSampler
from mmscratch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/scratch/faster_rcnn_r101_gn_144k_voc0712_ms.py'


@pytest.fixture(autouse=True)
def _mmdet() -> None:
    register_all_modules(init_default_scope=True)


def config_at(root: Path) -> Config:
    cfg = Config.fromfile(CONFIG)
    parts = [*cfg.train_dataloader.dataset.datasets]
    for dataset in [*parts, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset]:
        dataset.data_root = str(root)
    return cfg


def test_a_whole_devkit_passes(make_voc):
    assert layouts.check(config_at(make_voc()), ['train', 'val', 'test']) == []


@pytest.mark.parametrize(
    ('spoil', 'split', 'message'),
    [
        (
            lambda root: (root / 'VOC2012').rename(root / 'VOC2011'),
            'train',
            r'VOC2012/ImageSets/Main/train\.txt: no such file; put .*VOC2007 and VOC2012',
        ),
        (
            lambda root: (root / 'VOC2012/ImageSets/Main/val.txt').write_text('\n'),
            'val',
            r'val\.txt: lists no image',
        ),
        (
            lambda root: (root / 'VOC2007/Annotations/000007.xml').unlink(),
            'train',
            r'trainval\.txt: 1 of its 2 files are not in .*Annotations, the first is 000007\.xml',
        ),
        (
            lambda root: [f.unlink() for f in (root / 'VOC2012/JPEGImages').iterdir()],
            'val',
            r'val\.txt: 2 of its 2 files are not in .*JPEGImages, the first is 2008_000002\.jpg',
        ),
    ],
)
def test_what_is_missing_is_told_in_one_line(make_voc, spoil, split, message):
    root = make_voc()
    spoil(root)
    with pytest.raises(InputError, match=message) as error:
        layouts.check(config_at(root), [split])
    assert '\n' not in str(error.value)


def test_two_vocs_in_one_order(make_voc):
    """The samplers see one data set: each image once a pass, each under an id of its own."""
    cfg = config_at(make_voc())
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['classes'][11] == 'dog'
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['img_id'] for info in infos] == ['000005', '000007', '2008_000008']
    assert (infos[0]['width'], infos[0]['height']) == (96, 64)
    sampler = InfiniteSubsetSampler(dataset, seed=0)
    batches = iter(AspectRatioGroupedBatchSampler(sampler, batch_size=3))
    assert sorted(next(batches)) == [0, 1, 2]
    subset = InfiniteSubsetSampler(dataset, seed=0, subset=2)
    assert len(subset.subset.ids) == 2


def test_what_is_trained_on(make_voc):
    """Small boxes are, difficult ones are not; corners count from 0 then."""
    cfg = config_at(make_voc())
    cfg.train_dataloader.dataset.datasets[0].pipeline[2].scales = [(96, 64)]
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sample = dataset[0]['data_samples']
    assert sample.gt_instances.labels.tolist() == [11, 7]
    boxes = sample.gt_instances.bboxes.tensor.tolist()
    if sample.flip:
        boxes = [[96 - x2, y1, 96 - x1, y2] for x1, y1, x2, y2 in boxes]
    assert boxes == [[10, 10, 49, 49], [0, 0, 19, 11]]
    assert sample.ignored_instances.labels.tolist() == [11]


def test_training_end_to_end(make_voc, run_tool, tmp_path):
    """Two iterations of a shrunken model: validation, best checkpoint and report are VOC's."""
    root, work_dir = make_voc(), tmp_path / 'run'
    options = [
        *(f'train_dataloader.dataset.datasets.{k}.data_root={root}' for k in (0, 1)),
        *(f'train_dataloader.dataset.datasets.{k}.pipeline.2.scales=[(96,64)]' for k in (0, 1)),
        *(f'{split}_dataloader.dataset.data_root={root}' for split in ('val', 'test')),
        *(f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')),
        *(f'{s}_dataloader.num_workers=0' for s in ('train', 'val', 'test')),
        *(f'{s}_dataloader.persistent_workers=False' for s in ('train', 'val', 'test')),
        *('model.backbone.depth=18', 'model.backbone.base_channels=8'),
        *('model.backbone.stem_channels=8', 'model.neck.in_channels=[8,16,32,64]'),
        *('model.neck.out_channels=8', 'model.rpn_head.in_channels=8'),
        *('model.rpn_head.feat_channels=8', 'model.roi_head.bbox_roi_extractor.out_channels=8'),
        'model.roi_head.bbox_head.in_channels=8',
        'model.roi_head.bbox_head.conv_out_channels=8',
        'model.roi_head.bbox_head.fc_out_channels=16',
        'model.backbone.norm_cfg.num_groups=4',
        'model.neck.norm_cfg.num_groups=4',
        'model.roi_head.bbox_head.norm_cfg.num_groups=4',
        *('train_cfg.max_iters=2', 'train_cfg.val_interval=1', 'param_scheduler.0.end=2'),
        *('param_scheduler.1.milestones=[1]', 'param_scheduler.1.end=2'),
        *('auto_scale_lr.base_batch_size=2', 'default_hooks.logger.interval=1'),
    ]
    log = run_tool('train.py', CONFIG, '--work-dir', work_dir, '--cfg-options', *options)
    assert '2 iterations = 1.3 epochs of 3 images' in log
    report = json.loads((work_dir / 'metrics.json').read_text())
    assert [entry['iteration'] for entry in report['history']] == [1, 2]
    assert 0 <= report['last']['voc_mAP'] <= 1
    assert report['best']['voc_mAP'] == max(entry['voc_mAP'] for entry in report['history'])
    assert list(work_dir.glob('best_pascal_voc_mAP_iter_*.pth'))
    assert (work_dir / 'curves.png').exists()

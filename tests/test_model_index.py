"""The metafiles: each config once, each number with a source, the paper's tables."""

import json
import re
from pathlib import Path
from statistics import mean

import pytest
import yaml

from mmscratch.study.decide import evidence

ROOT = Path(__file__).resolve().parents[1]
FILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
METAFILES = [yaml.safe_load((ROOT / file).read_text()) for file in FILES]
ENTRIES = [entry for metafile in METAFILES for entry in metafile['Models']]
MODELS = {entry['Name']: entry for entry in ENTRIES}
METRICS = ('box AP', 'box AP50', 'box AP75', 'mask AP', 'mask AP50', 'mask AP75')
METRICS += ('keypoint AP', 'VOC AP', 'VOC07 AP', 'VOC12 AP')

# Copied from the paper, arXiv 1811.08883v1, independently of the metafiles: box AP at 2x to 6x
TABLE_1 = {
    'scratch/mask_rcnn_r50_gn': (36.8, 39.5, 40.6, 40.7, 41.3),
    'pretrained/mask_rcnn_r50_gn': (40.3, 40.8, 40.9, 40.9, 41.1),
    'scratch/mask_rcnn_r101_gn': (38.2, 41.0, 41.8, 42.2, 42.7),
    'pretrained/mask_rcnn_r101_gn': (41.8, 42.3, 42.3, 41.9, 42.2),
}
# AP, AP50, AP75 of boxes, then of masks
TABLE_2 = {
    'scratch/mask_rcnn_r50_gn_6x': (41.3, 61.8, 45.6, 36.6, 59.0, 38.9),
    'pretrained/mask_rcnn_r50_gn_6x': (41.1, 61.7, 44.6, 36.4, 58.5, 38.7),
    'scratch/mask_rcnn_r101_gn_6x': (42.7, 62.9, 47.0, 37.6, 59.9, 39.7),
    'pretrained/mask_rcnn_r101_gn_3x': (42.3, 62.6, 46.2, 37.2, 59.7, 39.7),
}
TABLE_3 = {
    'scratch/mask_rcnn_r101_gn_9x_ms': [(45.0, 65.7, 49.3, 39.5, 62.5, 42.1)],
    'scratch/mask_rcnn_x152_gn_9x_ms': [(46.4, 67.1, 51.1, 40.5, 63.9, 43.4)],
    'scratch/cascade_mask_rcnn_x152_gn_9x_ms': [
        (48.6, 66.8, 52.9, 41.4, 64.2, 44.6),
        (50.9, 68.7, 55.4, 43.2, 66.1, 46.8),
    ],
}
# The other numbers that the paper's text gives: config, metric, values
TEXT = [
    ('scratch/cascade_mask_rcnn_r50_gn_9x_ms', 'mask AP', [41.6]),
    ('pretrained/cascade_mask_rcnn_r50_gn_6x_ms', 'mask AP', [40.9]),
    ('scratch/cascade_mask_rcnn_r101_gn_9x_ms', 'mask AP', [42.5]),
    ('pretrained/cascade_mask_rcnn_r101_gn_6x_ms', 'mask AP', [41.9]),
    ('pretrained/cascade_mask_rcnn_x152_gn_6x_ms', 'box AP', [50.3]),
    ('scratch/faster_rcnn_vgg16_nonorm_11x_ms', 'box AP', [35.2]),
    ('pretrained/faster_rcnn_vgg16_nonorm_9x_ms', 'box AP', [35.6]),
    ('scratch/mask_rcnn_r50_gn_6x_val35k_ms', 'box AP', [36.3]),
    ('pretrained/mask_rcnn_r50_gn_6x_val35k_ms', 'box AP', [36.3]),
    ('scratch/mask_rcnn_r50_gn_220k_coco10k_ms', 'box AP', [25.9]),
    ('pretrained/mask_rcnn_r50_gn_60k_coco10k_ms', 'box AP', [26.0]),
    ('scratch/mask_rcnn_r50_gn_220k_coco3500_ms', 'box AP', [9.3]),
    ('pretrained/mask_rcnn_r50_gn_60k_coco3500_ms', 'box AP', [16.0]),
    ('scratch/mask_rcnn_r50_gn_220k_coco1k_ms', 'box AP', [3.5, 5.4]),
    ('pretrained/mask_rcnn_r50_gn_60k_coco1k_ms', 'box AP', [9.9]),
    ('scratch/faster_rcnn_r101_gn_144k_voc0712_ms', 'VOC AP', [77.6]),
    ('pretrained/faster_rcnn_r101_gn_18k_voc0712_ms', 'VOC AP', [82.7]),
]
# The configs of what decide says without training, in its order: pretrained, scratch
PUBLISHED = [
    ('pretrained/mask_rcnn_r50_gn_6x', 'scratch/mask_rcnn_r50_gn_6x'),
    ('pretrained/mask_rcnn_r50_gn_6x_val35k_ms', 'scratch/mask_rcnn_r50_gn_6x_val35k_ms'),
    ('pretrained/mask_rcnn_r50_gn_60k_coco10k_ms', 'scratch/mask_rcnn_r50_gn_220k_coco10k_ms'),
    ('pretrained/mask_rcnn_r50_gn_60k_coco3500_ms', 'scratch/mask_rcnn_r50_gn_220k_coco3500_ms'),
    ('pretrained/mask_rcnn_r50_gn_60k_coco1k_ms', 'scratch/mask_rcnn_r50_gn_220k_coco1k_ms'),
    (
        'pretrained/faster_rcnn_r101_gn_18k_voc0712_ms',
        'scratch/faster_rcnn_r101_gn_144k_voc0712_ms',
    ),
]
# Detectron's projects/GN/README.md by model id: box AP, mask AP
DETECTRON = {
    '56421872': (39.5, 35.2),
    '56421911': (41.0, 36.4),
    '48616381': (40.3, 35.7),
    '48734751': (40.8, 36.1),
    '48616724': (41.8, 36.8),
    '48734779': (42.3, 37.2),
    '49025460': (36.2, 32.5),
    '49024951': (37.5, 33.3),
}


# DSOD's README (bbb6f0f) and text: VOC 2007 test, 11 points
DSOD = {
    'full_bn_100k_voc07p12': 77.7,
    'lite_bn_100k_voc07p12': 76.7,
    'smallest_bn_100k_voc07p12': 73.6,
    'full_bn_100k_voc07p12_b12': 78.9,
    'ablation6_bn_100k_voc07p12': 74.5,
    'ablation7_bn_100k_voc07p12': 70.7,
    'ablation9_bn_100k_voc07p12': 77.3,
}
# what the text says that a row of its ablation adds to the row before
DSOD_STEPS = {2: 1.7, 3: 2.9, 4: 4.1, 5: 1.1, 6: 4.8}


def reported(name: str, source: str) -> list[dict]:
    return [r for r in MODELS[name].get('Reported', []) if r['Source'] == source]


def test_every_config_has_one_entry_and_every_entry_a_config():
    files = [
        path.relative_to(ROOT).with_suffix('')
        for folder in ('scratch', 'pretrained', 'dsod')
        for path in (ROOT / 'configs' / folder).glob('*.py')
    ]
    names = [entry['Name'] for entry in ENTRIES]
    assert sorted(names) == sorted(f'{file.parent.name}/{file.stem}' for file in files)
    for entry in ENTRIES:
        assert entry['Config'] == f'configs/{entry["Name"]}.py'


def test_entries_are_complete_and_of_their_collection():
    collections = [collection for metafile in METAFILES for collection in metafile['Collections']]
    assert all((ROOT / collection['README']).is_file() for collection in collections)
    collections = [collection['Name'] for collection in collections]
    for name, entry in MODELS.items():
        detector = entry['In Collection'].lower().replace(' r-cnn', '_rcnn').replace(' ', '_')
        assert entry['In Collection'] in collections
        assert re.match(rf'\w+/{detector}\d*_', name), name
        assert set(entry) - {'Results', 'Reported', 'Weights'} == {
            'Name',
            'In Collection',
            'Config',
            'Metadata',
            'In Paper',
        }


def test_a_part_of_the_paper_is_one_stretch_of_its_file():
    for metafile in METAFILES:
        labels = [entry['In Paper'] for entry in metafile['Models']]
        starts = [label for label, before in zip(labels, [None, *labels]) if label != before]
        assert len(starts) == len(set(starts))


def test_twins_are_of_the_same_part_of_the_paper_and_data():
    for name, entry in MODELS.items():
        twin = MODELS.get(name.replace('scratch/', 'pretrained/'), entry)
        assert (twin['In Paper'], twin['Metadata']) == (entry['In Paper'], entry['Metadata'])


def test_reported_results_have_a_source_and_sane_values():
    for name, entry in MODELS.items():
        for result in entry.get('Reported', []):
            numbers = {key: result[key] for key in result if key not in ('Source', 'Remark')}
            assert result['Source'].split(', ')[0] in (
                'paper',
                'Detectron',
                'detectron2',
                'MMDetection',
                'tensorpack',
                'DSOD',
            )
            assert numbers, name
            assert set(numbers) <= set(METRICS)
            assert all(0 < value < 100 for value in numbers.values())
            for kind in ('box', 'mask'):
                if f'{kind} AP50' in numbers:
                    ap, ap50, ap75 = (numbers[f'{kind} AP{iou}'] for iou in ('', 50, 75))
                    assert ap75 < ap50
                    assert ap < ap50


def test_what_decide_says_without_training_is_in_the_metafiles():
    for twins, names in zip(evidence.PUBLISHED, PUBLISHED, strict=True):
        for value, name in zip((twins.pretrained, twins.scratch), names):
            rows = [r for r in MODELS[name]['Reported'] if r['Source'].startswith('paper')]
            assert value in [row.get('box AP', row.get('VOC AP')) for row in rows], name


def test_table_1():
    for stem, values in TABLE_1.items():
        for length, value in zip(range(2, 7), values):
            [result] = reported(f'{stem}_{length}x', 'paper, Table 1')
            assert result == {'Source': 'paper, Table 1', 'box AP': value}
    everywhere = [r for name in MODELS for r in reported(name, 'paper, Table 1')]
    assert len(everywhere) == 20


def test_table_2():
    for name, values in TABLE_2.items():
        [result] = reported(name, 'paper, Table 2')
        assert tuple(result[key] for key in METRICS[:6]) == values
    assert sum(bool(reported(name, 'paper, Table 2')) for name in MODELS) == 4


def test_table_3():
    for name, rows in TABLE_3.items():
        found = [tuple(r[key] for key in METRICS[:6]) for r in reported(name, 'paper, Table 3')]
        assert found == rows
    assert {name for name in MODELS if reported(name, 'paper, Table 3')} == set(TABLE_3)


@pytest.mark.parametrize(('name', 'metric', 'values'), TEXT)
def test_numbers_of_the_text(name, metric, values):
    found = [result[metric] for result in reported(name, 'paper, text')]
    assert found == values


def test_keypoints():
    for folder, value in (('scratch', 65.6), ('pretrained', 65.5)):
        [result] = reported(f'{folder}/keypoint_rcnn_r50_gn_2x_ms', 'paper, Figure 6')
        assert result['keypoint AP'] == value


def test_detectrons_models_stand_under_their_schedule_and_freezing():
    seen = set()
    for name, entry in MODELS.items():
        for result in entry.get('Reported', []):
            if not result['Source'].startswith('Detectron'):
                continue
            model_id = result['Source'].rpartition(' ')[2]
            seen.add(model_id)
            assert (result['box AP'], result['mask AP']) == DETECTRON[model_id]
            scratch_unfrozen = model_id.startswith('5642')
            # all others have FREEZE_AT 2: without a freeze2 in the name, a remark must say so
            assert ('freeze2' in name) or scratch_unfrozen or 'FREEZE_AT 2' in result['Remark']
            assert ('freeze2' not in name) or not scratch_unfrozen
    assert seen == set(DETECTRON)


def test_dsod():
    for stem, value in DSOD.items():
        [result] = MODELS[f'dsod/dsod300_{stem}']['Reported']
        assert (result['VOC07 AP'], 'Remark' in result) == (value, stem.startswith('lite'))
    rows = [MODELS[f'dsod/dsod300_ablation{row}_bn_100k_voc07p12'] for row in range(1, 10)]
    found = [row['Reported'][0]['VOC07 AP'] if 'Reported' in row else None for row in rows]
    for row, step in DSOD_STEPS.items():
        assert found[row - 1] - found[row - 2] == pytest.approx(step)
    assert found[7] is None, 'row 8 is known from memory alone'


def test_what_is_only_a_curve_in_the_paper_has_no_number():
    for name, entry in MODELS.items():
        if entry['In Paper'] == 'Figure 4' or name.startswith('pretrained/mask_rcnn_r50_gn_6x_ms'):
            assert 'Reported' not in entry
        if name.endswith('_lsj_cp') or 'coco35k' in name:
            assert 'Reported' not in entry


def test_our_results_are_those_of_their_folder():
    keys = {'box AP': 'bbox_mAP', 'mask AP': 'segm_mAP', 'keypoint AP': 'keypoints_mAP'}
    checked = 0
    for name, entry in MODELS.items():
        for result in entry.get('Results', []):
            runs = [json.loads(f.read_text()) for f in (ROOT / result['Source']).glob('*.json')]
            of = {Path(run['config']).with_suffix('').parts[-2:] for run in runs}
            assert of == {tuple(name.split('/'))}
            for metric, value in result['Metrics'].items():
                measured = mean(100 * run['last'][keys[metric]] for run in runs)
                assert value == pytest.approx(measured, abs=0.05)
                checked += 1
    assert checked

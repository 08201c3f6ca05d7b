"""Configs from before the package was laid out anew."""

import subprocess
import sys

import pytest

# what configs/_base_/runtime.py said, and what --data added for a VOC folder
BEFORE = [
    'mmscratch.checkpoint',
    'mmscratch.datasets.coco_keypoint_dataset',
    'mmscratch.datasets.voc_with_difficult',
    'mmscratch.datasets.voc_folder_dataset',
    'mmscratch.evaluation',
    'mmscratch.hooks',
    'mmscratch.loops',
    'mmscratch.models',
    'mmscratch.samplers',
    'mmscratch.transforms',
]
SCRIPT = """
import sys
import mmscratch
from mmengine.config import Config
from mmdet.registry import DATASETS, HOOKS, METRICS, MODELS
Config.fromfile(sys.argv[1])
for registry, name in ((DATASETS, 'VOCWithDifficult'), (DATASETS, 'VocFolderDataset'),
                       (HOOKS, 'InitHook'), (METRICS, 'FullCocoMetric'), (MODELS, 'DSODHead')):
    assert name in registry.module_dict, name
"""


@pytest.mark.parametrize('imports', [BEFORE, BEFORE[:1], BEFORE[2:3]])
def test_a_config_of_before_registers_all_classes(tmp_path, imports):
    file = tmp_path / 'dumped.py'
    file.write_text(f'custom_imports = dict(imports={imports})\n')
    command = [sys.executable, '-c', SCRIPT, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    'line',
    [
        'import mmscratch.elsewhere',
        'from mmscratch.checkpoint import load',
        'from mmscratch.models import NoSuchHead',
        'from mmscratch.datasets import shapes',
    ],
)
def test_what_is_not_there_is_an_error(line):
    with pytest.raises(ImportError):
        exec(line)

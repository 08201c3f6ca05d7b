import importlib
import importlib.util
import subprocess
import sys

import mmcv
import mmcv.ops
import pytest
import torch
import torchvision
from mmcv.utils.env import collect_env
from mmengine.utils.dl_utils import mmcv_full_available

import mmscratch
from mmscratch.ops import backend

ext = importlib.import_module(backend.EXTENSION)


@pytest.fixture
def compiled_mmcv(tmp_path, monkeypatch):
    """An mmcv whose package folder holds an ``_ext`` of its own."""
    (tmp_path / '_ext.py').write_text('origin = "compiled"\n')
    monkeypatch.setattr(mmcv, '__path__', [*mmcv.__path__, str(tmp_path)])
    monkeypatch.setattr(mmcv, '_ext', None, raising=False)
    monkeypatch.delitem(sys.modules, backend.EXTENSION)


def run_python(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)


def test_importing_mmscratch_loads_no_library():
    code = (
        'import sys, mmscratch; '
        'print({"torch", "torchvision", "numpy", "mmcv", "mmdet", "mmengine"} & set(sys.modules))'
    )
    assert run_python(code).stdout == 'set()\n'


def test_one_finder_which_comes_last_however_often_it_is_installed():
    code = (
        'import sys; before = list(sys.meta_path); import mmscratch; '
        'mmscratch.backend.install(); '
        'print(sys.meta_path[:-1] == before, type(sys.meta_path[-1]).__name__)'
    )
    assert run_python(code).stdout == 'True ExtensionFinder\n'


@pytest.mark.parametrize('name', ['mmcv', 'mmcv.ops', 'mmcv._ext2', 'mmcv._ext.nms', '_ext'])
def test_finder_answers_for_no_other_module(name):
    assert backend.ExtensionFinder().find_spec(name, None) is None


def test_stand_in_is_a_regular_module():
    assert ext.__spec__.name == 'mmcv._ext'
    assert ext.__spec__.loader is not None
    assert mmcv_full_available()


def test_log_line_names_torchvision():
    line = f'ops: torchvision {torchvision.__version__} kernels through mmscratch.ops'
    assert backend.describe() == line


@pytest.mark.usefixtures('compiled_mmcv')
def test_compiled_mmcv_is_used_untouched():
    assert importlib.import_module(backend.EXTENSION).origin == 'compiled'
    assert backend.describe() == f'ops: mmcv {mmcv.__version__} compiled'


def test_absent_op_is_named_with_its_cure_when_called():
    with pytest.raises(
        NotImplementedError, match=r'^box_iou_rotated is not .* full mmcv package'
    ) as caught:
        mmcv.ops.box_iou_rotated(torch.rand(3, 5), torch.rand(3, 5))
    assert '\n' not in str(caught.value)


def test_module_protocol_is_not_answered_with_an_op():
    assert not hasattr(ext, '__wrapped__')
    assert not hasattr(ext, '__path__')


def test_environment_report_does_not_need_a_compiler():
    assert collect_env()['MMCV Compiler'] == 'n/a'
    assert mmscratch.backend is backend

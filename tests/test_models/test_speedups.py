"""Each speed-up beside the code of MMDetection or torch that it replaces."""

import copy

import numpy as np
import pytest
import torch
from mmcv.cnn import build_norm_layer, is_norm
from mmdet.models import DetDataPreprocessor, SingleRoIExtractor
from mmdet.models.task_modules import MaxIoUAssigner
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData

from mmscratch.data.late_masks import LateMasks
from mmscratch.models import speedups
from mmscratch.models.speedups.group_norm import GroupNorm
from mmscratch.models.speedups.roi_levels import pool_sorted
from mmscratch.models.speedups.rpn_loss import draw, sampled_loss
from mmscratch.models.speedups.sgd import SGD


@pytest.fixture
def without():
    """``without(call)``: what a call gives with no speed-up in place."""

    def call_without(call):
        speedups.use([])
        try:
            return call()
        finally:
            speedups.use(speedups.PARTS)

    return call_without


def boxes(number, size=(96, 64), seed=0, whole=False):
    """Random boxes within an image; at whole pixels, many have equal IoUs."""
    random = torch.rand(number, 4, generator=torch.Generator().manual_seed(seed))
    lower = random[:, :2] * torch.tensor(size) * 0.7
    upper = lower + 4 + random[:, 2:] * torch.tensor(size) * 0.3
    corners = torch.cat([lower, upper], dim=1)
    return corners.div(8, rounding_mode='floor') * 8 if whole else corners


def test_speedups_are_in_place_and_can_be_taken_out(without):
    def in_place():
        return [
            speedups.in_place(owner, name) is faster
            for part in speedups.PARTS.values()
            for owner, name, faster in part
        ]

    assert all(in_place())
    assert not any(without(in_place))


@pytest.mark.parametrize('objects', [0, 1, 30])
@pytest.mark.parametrize(
    'settings',
    [
        dict(neg_iou_thr=0.3, min_pos_iou=0.3),
        dict(neg_iou_thr=0.3, min_pos_iou=0.0),
        dict(neg_iou_thr=(0.1, 0.5), match_low_quality=False),
        dict(neg_iou_thr=0.3, gt_max_assign_all=False),
        dict(neg_iou_thr=0.3, ignore_iof_thr=0.5),
    ],
    ids=str,
)
def test_the_assigner_assigns_as_before(settings, objects, without):
    assigner = MaxIoUAssigner(pos_iou_thr=0.7, **settings)
    for seed in range(10):
        for number in (0, 400):
            arguments = (
                InstanceData(priors=boxes(number, seed=seed, whole=True)),
                InstanceData(
                    bboxes=boxes(objects, seed=seed + 100, whole=True),
                    labels=torch.randint(0, 80, (objects,)),
                ),
                InstanceData(bboxes=boxes(3, seed=seed + 200)),
            )
            own = assigner.assign(*arguments)
            expected = without(lambda arguments=arguments: assigner.assign(*arguments))
            for name in ('gt_inds', 'max_overlaps', 'labels'):
                mine, theirs = getattr(own, name), getattr(expected, name)
                assert mine.dtype == theirs.dtype
                assert torch.equal(mine, theirs)


def rpn(sampled=256, border=0):
    """The head of a small model, its outputs for two images of other sizes, annotations."""
    cfg = Config.fromfile('configs/scratch/mask_rcnn_r18_gn_600i_shapes.py')
    cfg.model.train_cfg.rpn.sampler.num = sampled
    cfg.model.train_cfg.rpn.allowed_border = border
    torch.manual_seed(0)
    head = MODELS.build(
        dict(cfg.model.rpn_head, train_cfg=cfg.model.train_cfg.rpn, test_cfg=cfg.model.test_cfg.rpn)
    )
    levels = [torch.randn(2, head.in_channels, 32 // 2**k, 48 // 2**k) for k in range(5)]
    outputs = [[output.detach() for output in kind] for kind in head(levels)]
    metas = [
        dict(img_shape=(120, 190), pad_shape=(128, 192)),
        dict(img_shape=(90, 130), pad_shape=(96, 160)),
    ]
    return head, outputs, metas


# all anchors of a kind are drawn where there are too few, so that both draw the same
@pytest.mark.parametrize('objects', [(5, 3), (4, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize('border', [0, -1])
def test_losses_of_the_rpn_are_those_of_before(objects, border, device, without):
    head, outputs, metas = rpn(sampled=20000, border=border)
    head.to(device)
    truth = [
        InstanceData(bboxes=boxes(number, seed=i), labels=torch.zeros(number).long()).to(device)
        for i, number in enumerate(objects)
    ]

    def losses(function):
        inputs = [[x.clone().to(device).requires_grad_() for x in kind] for kind in outputs]
        found = function(*inputs, truth, metas)
        sums = {name: sum(values) for name, values in found.items()}
        sum(sums.values()).backward()
        return {**sums, **{f'gradient {i}': x.grad for i, x in enumerate(inputs[0] + inputs[1])}}

    own = losses(lambda *arguments: sampled_loss(head, *arguments))
    expected = without(lambda: losses(head.loss_by_feat))
    assert own.keys() == expected.keys()
    for name, value in own.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_as_many_anchors_are_drawn_as_asked_for():
    matched = torch.full((3, 500), -1)
    matched[0, :200], matched[0, 200:] = 1, 0  # enough of both
    matched[1, :10], matched[1, 10:300] = 2, 0  # few of objects
    matched[2, :3] = 0  # few of anything
    picks, is_object, counts = draw(matched, 64, 0.5)
    for image, positive, negative in ((0, 32, 32), (1, 10, 54), (2, 0, 3)):
        for kind, number in ((is_object[image], positive), (~is_object[image], negative)):
            own = picks[image][kind & counts[image]]
            assert len(own.unique()) == len(own) == number
            assert (matched[image][own] > 0).all() if kind is is_object[image] else True
    assert not torch.equal(draw(matched, 64, 0.5)[0], picks)


@pytest.mark.parametrize('sizes', [(8, 20, 60, 200), (8, 9, 10, 11), ()])
@pytest.mark.parametrize('factor', [None, 1.5])
def test_roi_features_are_those_of_before(sizes, factor, device, without):
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=2)
    extractor = SingleRoIExtractor(layer, 4, [4, 8, 16, 32]).to(device)
    rois = torch.tensor([[i % 2, 3, 5, 3 + size, 5 + size] for i, size in enumerate(3 * sizes)])
    rois = rois.float().reshape(-1, 5).to(device)

    def features(forward):
        torch.manual_seed(0)
        maps = [torch.randn(2, 4, 64 // 2**k, 64 // 2**k) for k in range(4)]
        maps = [level.to(device).requires_grad_() for level in maps]
        pooled = forward(maps, rois, factor)
        (pooled * torch.arange(49, device=device).view(7, 7)).sum().backward()
        return [pooled, *(level.grad for level in maps)]

    own = features(lambda *arguments: pool_sorted(extractor, *arguments))
    for mine, theirs in zip(own, without(lambda: features(extractor)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_rois_are_not_rounded_to_the_format_of_maps(device):
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=2)
    extractor = SingleRoIExtractor(layer, 4, [4, 8, 16, 32]).to(device)
    maps = [torch.randn(1, 4, 256 // 2**k, 256 // 2**k, device=device) for k in range(4)]
    maps = [level.bfloat16().requires_grad_() for level in maps]
    rois = torch.tensor([[0, 500.4, 300.6, 540.7, 350.2], [0, 10, 10, 900, 900]], device=device)
    pooled = pool_sorted(extractor, maps, rois)
    pooled.sum().backward()
    assert all(level.grad.isfinite().all() for level in maps)
    exact = pool_sorted(extractor, [level.detach().float() for level in maps], rois)
    torch.testing.assert_close(pooled.float(), exact, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize('objects', [0, 3])
@pytest.mark.parametrize('soft', [False, True])
def test_mask_targets_are_those_of_before(objects, soft, device, without):
    torch.manual_seed(0)
    bitmaps = (np.random.default_rng(0).random((objects, 60, 90)) > 0.5).astype(np.uint8)
    preprocessor = DetDataPreprocessor(pad_mask=True, pad_size_divisor=32)

    def targets():
        sample = DetDataSample(metainfo=dict(batch_input_shape=(64, 96)))
        sample.gt_instances = InstanceData(masks=BitmapMasks(bitmaps, 60, 90))
        preprocessor.pad_gt_masks([sample])
        # as MMDetection does for the RPN
        assert len(copy.deepcopy(sample).gt_instances.masks) == objects
        # some boxes reach into the padding
        proposals = boxes(20 if objects else 0, size=(130, 90)).to(device)
        matched = torch.arange(len(proposals), device=device) % max(objects, 1)
        cfg = ConfigDict(mask_size=14, soft_mask_target=soft)
        return sample.gt_instances.masks, mask_target(
            [proposals], [matched], [sample.gt_instances.masks], cfg
        )

    padded, own = targets()
    expected_padded, expected = without(targets)
    assert type(padded) is LateMasks
    assert padded.masks.dtype == expected_padded.masks.dtype
    np.testing.assert_array_equal(padded.masks, expected_padded.masks)
    assert own.dtype == expected.dtype
    assert torch.equal(own, expected)


def test_group_norm_is_torchs_and_looks_like_it(device, without):
    def layer():
        torch.manual_seed(0)
        name, norm = build_norm_layer(dict(type='GN', num_groups=4), 16, postfix=1)
        assert name == 'gn1'
        assert is_norm(norm)
        return norm.to(device)

    own, expected = layer(), without(layer)
    assert type(own) is GroupNorm
    assert type(expected) is torch.nn.GroupNorm
    assert repr(own) == repr(expected)
    assert own.state_dict().keys() == expected.state_dict().keys()
    x = torch.randn(2, 16, 5, 5, device=device)
    assert torch.equal(own(x), expected(x))
    with torch.autocast(device, torch.bfloat16):
        mine, theirs = own(x.bfloat16()), expected(x.bfloat16())
    # a CPU's autocast leaves it so by itself
    assert mine.dtype == torch.bfloat16
    torch.testing.assert_close(mine.float(), theirs.float(), rtol=2e-2, atol=2e-2)


def test_sgd_steps_as_before_and_keeps_its_groups(device, without):
    def run():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).to(device)
        wrapper = dict(
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01),
            paramwise_cfg=dict(bias_lr_mult=2, bias_decay_mult=0),
        )
        optimizer = build_optim_wrapper(model, wrapper).optimizer
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(4):
            model(torch.ones(1, 3, device=device)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        return list(model.parameters()), optimizer

    parameters, own = run()
    expected_parameters, expected = without(run)
    assert type(own) is SGD
    assert type(expected) is torch.optim.SGD
    for mine, theirs in zip(parameters, expected_parameters, strict=True):
        torch.testing.assert_close(
            mine, theirs, **dict.fromkeys(['rtol', 'atol'], 0) if device == 'cpu' else {}
        )
    state, expected_state = own.state_dict(), expected.state_dict()
    assert len(state['param_groups']) == 4
    assert state['param_groups'] == expected_state['param_groups']
    assert state['state'].keys() == expected_state['state'].keys()
    assert repr(own) == repr(expected)

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmscratch.errors import InputError
from mmscratch.models import SingleMaskCascadeRoIHead

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
HEIGHT, WIDTH = 96, 128
# by image; of classes 0 and 2, and 1
BOXES = [[[10.0, 12, 60, 70], [50, 30, 120, 90]], [[20.0, 20, 70, 80]]]
LABELS = [[0, 2], [1]]


@functools.cache
def model_config(name: str) -> ConfigDict:
    return Config.fromfile(CONFIGS / f'scratch/{name}.py').model


def build(name: str, **changes) -> nn.Module:
    model = copy.deepcopy(model_config(name))
    cfg = dict(model.roi_head, train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn)
    cfg.update(changes)
    return MODELS.build({key: value for key, value in cfg.items() if value is not None})


def cascade(stages: int, **changes) -> SingleMaskCascadeRoIHead:
    """A head with weights that are not tiny, so that all classes are detected."""
    torch.manual_seed(1)
    head = build('cascade_mask_rcnn_r18_gn_600i_shapes', **changes)
    head.init_weights()
    for box_head in head.bbox_head:
        nn.init.normal_(box_head.fc_cls.weight, std=0.1)
        nn.init.normal_(box_head.fc_reg.weight, std=0.1)
    head.active_stages.fill_(stages)
    return head


def standard(head: SingleMaskCascadeRoIHead) -> StandardRoIHead:
    """The plain Mask R-CNN's (or Faster R-CNN's) head with the weights of ``head``."""
    without = {} if head.with_mask else dict(mask_head=None, mask_roi_extractor=None)
    plain = build('mask_rcnn_r18_gn_600i_shapes', **without)
    later = tuple(f'bbox_head.{stage}.' for stage in range(1, len(head.bbox_head)))
    plain.load_state_dict(
        {
            name.replace('bbox_head.0.', 'bbox_head.'): value
            for name, value in head.state_dict().items()
            if name != 'active_stages' and not name.startswith(later)
        }
    )
    return plain


@pytest.fixture
def batch() -> dict:
    generator = torch.Generator().manual_seed(0)
    features = tuple(
        torch.randn(2, 64, HEIGHT // stride, WIDTH // stride, generator=generator)
        for stride in (4, 8, 16, 32, 64)
    )
    results, samples = [], []
    for index, (boxes, labels) in enumerate(zip(BOXES, LABELS)):
        boxes = torch.tensor(boxes)
        near = boxes.repeat(40, 1) + 6 * torch.randn(40 * len(boxes), 4, generator=generator)
        corners = torch.rand(40, 4, generator=generator) * torch.tensor([60.0, 40, 60, 40])
        corners[:, 2:] += corners[:, :2] + 4
        results.append(InstanceData(bboxes=torch.cat([near, corners]).clamp(0, HEIGHT)))
        masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
            mask[top:bottom, left:right] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(HEIGHT, WIDTH),
                ori_shape=(HEIGHT // 2, WIDTH // 2),
                scale_factor=(2.0, 2.0),
                img_id=index,
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.tensor(labels),
            masks=BitmapMasks(masks.numpy(), HEIGHT, WIDTH),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        samples.append(sample)
    return dict(x=features, rpn_results_list=results, batch_data_samples=samples)


def losses_of(head: nn.Module, batch: dict) -> dict[str, Tensor]:
    torch.manual_seed(7)
    # a head takes the boxes out of the proposals
    return head.loss(**dict(batch, rpn_results_list=copy.deepcopy(batch['rpn_results_list'])))


@torch.no_grad()
def predictions_of(head: nn.Module, batch: dict) -> list[InstanceData]:
    return head.eval().predict(**batch, rescale=True)


def gradients_of(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


WITH_AND_WITHOUT_MASKS = pytest.mark.parametrize(
    'changes', [{}, dict(mask_head=None, mask_roi_extractor=None)], ids=['masks', 'boxes']
)


@WITH_AND_WITHOUT_MASKS
def test_one_stage_trains_as_a_mask_rcnn_does(batch, changes):
    head = cascade(1, **changes)
    plain = standard(head)
    ours, expected = losses_of(head, batch), losses_of(plain, batch)
    assert {name.removeprefix('s0.') for name in ours} == set(expected)
    assert ('loss_mask' in ours) == head.with_mask
    for name, value in ours.items():
        assert torch.equal(value, expected[name.removeprefix('s0.')]), name
    for losses in (ours, expected):
        sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(map(torch.equal, gradients_of(head.bbox_head[0]), gradients_of(plain.bbox_head)))
    if head.with_mask:
        assert all(map(torch.equal, gradients_of(head.mask_head), gradients_of(plain.mask_head)))
    # None, not zero: SGD decays and pushes what has a gradient of zero
    assert all(grad is None for grad in gradients_of(head.bbox_head[1:]))


@WITH_AND_WITHOUT_MASKS
def test_one_stage_predicts_as_a_mask_rcnn_does(batch, changes):
    head = cascade(1, **changes)
    for ours, expected in zip(predictions_of(head, batch), predictions_of(standard(head), batch)):
        assert len(ours) > 50
        assert ours.keys() == expected.keys()
        for key in ours.keys():  # noqa: SIM118 (InstanceData iterates over instances)
            assert torch.equal(ours[key], expected[key]), key
        assert ('masks' in ours) == head.with_mask


def test_all_stages_train_and_the_mask_head_on_the_last_samples(batch, monkeypatch):
    head = cascade(3)
    calls = []
    compute = FCNMaskHead.loss_and_target

    def spy(self, mask_preds, sampling_results, *args):
        calls.append(sampling_results)
        return compute(self, mask_preds, sampling_results, *args)

    monkeypatch.setattr(FCNMaskHead, 'loss_and_target', spy)
    losses = losses_of(head, batch)
    assert set(losses) == {
        *(f's{stage}.{name}' for stage in range(3) for name in ('loss_cls', 'loss_bbox', 'acc')),
        'loss_mask',
    }
    assert len(calls) == 1
    positives = 0
    for result, boxes in zip(calls[0], BOXES):
        overlaps = bbox_overlaps(result.pos_priors, torch.tensor(boxes)).amax(1)
        assert (overlaps >= 0.7).all()
        # moved there by two stages: neither proposals nor ground truth
        positives += int((~result.pos_is_gt.bool()).sum())
    assert positives > 0
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(grad is not None for grad in gradients_of(head))


def test_weights_of_the_stages_scale_box_losses_alone(batch):
    weighted, even = (
        losses_of(cascade(3, later_loss_weights=weights), batch)
        for weights in [(0.5, 0.25), (1, 1)]
    )
    for name in even:
        factor = {'s1': 0.5, 's2': 0.25}.get(name[:2], 1) if 'loss' in name else 1
        assert torch.equal(weighted[name], even[name] * factor), name


def test_thresholds_and_targets_of_the_stages():
    head = cascade(3)
    assert [assigner.pos_iou_thr for assigner in head.bbox_assigner] == [0.5, 0.6, 0.7]
    assert [assigner.neg_iou_thr for assigner in head.bbox_assigner] == [0.5, 0.6, 0.7]
    assert [box_head.reg_class_agnostic for box_head in head.bbox_head] == [False, True, True]
    assert [box_head.fc_reg.out_features for box_head in head.bbox_head] == [3 * 4, 4, 4]
    stds = torch.tensor([box_head.bbox_coder.stds for box_head in head.bbox_head])
    torch.testing.assert_close(
        1 / stds,
        torch.tensor([[10.0, 10, 5, 5], [20, 20, 10, 10], [30, 30, 15, 15]]),
    )


def test_one_mask_head_and_one_state_for_both_phases():
    head = cascade(3)
    assert sum(isinstance(module, FCNMaskHead) for module in head.modules()) == 1
    assert len(head.bbox_roi_extractor) == 3
    assert int(build('cascade_mask_rcnn_r18_gn_600i_shapes').active_stages) == 3
    names = list(head.state_dict())
    head.active_stages.fill_(1)
    assert list(head.state_dict()) == names
    assert 'active_stages' not in dict(head.named_parameters())


def constant_boxes(head: SingleMaskCascadeRoIHead) -> None:
    """Stage 1 moves boxes of class 0 by 1/10 of the width, of class 1 by 2/10, of class 2 not."""
    for box_head in head.bbox_head:
        for layer in (box_head.fc_cls, box_head.fc_reg):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        # target_stds make 1/10 of it
        head.bbox_head[0].fc_reg.bias[[0, 4]] = torch.tensor([1.0, 2.0])


def proposals(*boxes: list[float]) -> list[InstanceData]:
    return [InstanceData(bboxes=torch.tensor([box])) for box in boxes]


def rois_seen(head: SingleMaskCascadeRoIHead, stage: int) -> list[Tensor]:
    seen = []
    head.bbox_roi_extractor[stage].register_forward_hook(lambda _, args, out: seen.append(args[1]))
    return seen


@pytest.mark.parametrize(('best', 'shift'), [(0, 0.1), (1, 0.2), (2, 0.0)])
def test_class_specific_first_stage_moves_boxes_of_the_best_class(batch, best, shift):
    head = cascade(3)
    constant_boxes(head)
    with torch.no_grad():
        # background, the last one, is likelier still
        head.bbox_head[0].fc_cls.bias[[best, 3]] = torch.tensor([2.0, 3.0])
    seen = rois_seen(head, 1)
    batch['rpn_results_list'] = proposals([20.0, 20, 60, 50], [20.0, 20, 60, 50])
    head.predict_bbox(
        batch['x'],
        [sample.metainfo for sample in batch['batch_data_samples']],
        batch['rpn_results_list'],
        head.test_cfg,
    )
    moved = torch.tensor([20 + 40 * shift, 20, 60 + 40 * shift, 50])
    torch.testing.assert_close(seen[0][:, 1:], moved.expand(2, 4))


def test_class_specific_first_stage_moves_boxes_of_the_true_class_in_training(batch):
    head = cascade(3)
    constant_boxes(head)
    seen = rois_seen(head, 1)
    # near the first image's second object (class 2: no move), and the second's (class 1)
    batch['rpn_results_list'] = proposals([52.0, 30, 120, 90], [20.0, 22, 70, 80])
    losses_of(head, batch)
    boxes = seen[0][:, 1:]
    for expected in ([52.0, 30, 120, 90], [30.0, 22, 80, 80]):
        assert (boxes - torch.tensor(expected)).abs().amax(1).min() < 1e-3


def test_scores_are_those_of_the_mean_logits_and_boxes_the_last_stages(batch):
    head = cascade(3)
    constant_boxes(head)
    with torch.no_grad():
        head.bbox_head[0].fc_reg.bias.zero_()
        for box_head, logit in zip(head.bbox_head, (0.0, 3.0, 6.0)):
            box_head.fc_cls.bias[0] = logit
        head.bbox_head[2].fc_reg.bias[1] = 3.0
    batch['rpn_results_list'] = proposals([20.0, 20, 60, 50], [20.0, 20, 60, 50])
    for found in predictions_of(head, batch):
        assert found.labels[0] == 0
        expected = torch.tensor([3.0, 0, 0, 0]).softmax(0)[0]
        torch.testing.assert_close(found.scores[0], expected)
        # 3 * 1/30 of the height, in the image's own coordinates: half of those of the input
        torch.testing.assert_close(found.bboxes[0], torch.tensor([20.0, 23, 60, 53]) / 2)
        assert found.masks.shape[1:] == (HEIGHT // 2, WIDTH // 2)


def test_images_without_proposals_have_no_detections(batch):
    batch['rpn_results_list'][0] = InstanceData(bboxes=torch.zeros(0, 4))
    nothing, some = predictions_of(cascade(3), batch)
    assert len(nothing) == 0 < len(some)
    batch['rpn_results_list'][1] = InstanceData(bboxes=torch.zeros(0, 4))
    assert [len(found) for found in predictions_of(cascade(3), batch)] == [0, 0]


def test_faulty_stages_are_refused():
    box_head = model_config('mask_rcnn_r18_gn_600i_shapes').roi_head.bbox_head
    with pytest.raises(InputError, match='give the dict of stage 1 alone'):
        cascade(3, bbox_head=[box_head] * 3)
    with pytest.raises(InputError, match='1 later_ious and 2 later_loss_weights'):
        cascade(3, later_ious=(0.6,))

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmscratch.errors import InputError
from mmscratch.models import KeypointRoIHead

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SIDES = (32, 16, 8, 4)  # of the feature maps of a 128 x 128 image


def roi_head(**changes) -> KeypointRoIHead:
    model = Config.fromfile(CONFIGS / '_base_/models/keypoint_rcnn_r18_gn.py').model
    cfg = model.roi_head
    cfg.update(changes)
    cfg.bbox_head.num_classes = 2
    cfg.keypoint_head.num_keypoints = 3
    cfg.update(train_cfg=model.train_cfg.rcnn, test_cfg=model.test_cfg.rcnn)
    torch.manual_seed(0)
    head = MODELS.build(cfg)
    head.init_weights()
    return head


def features() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return tuple(torch.randn(2, 64, side, side) for side in SIDES)


def proposals() -> list[InstanceData]:
    boxes = torch.tensor([[10.0, 10, 60, 60], [12, 12, 62, 60], [70, 70, 120, 120], [0, 0, 9, 9]])
    return [InstanceData(bboxes=boxes.clone(), scores=torch.ones(4)) for _ in range(2)]


def samples(keypoints: list | None) -> list[DetDataSample]:
    """Two images of 128 x 128; on the first, an object of class 0 with the keypoints."""
    result = []
    for index in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(128, 128), ori_shape=(64, 64), scale_factor=(2.0, 2.0))
        )
        count = 1 if index == 0 and keypoints is not None else 0
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 10, 60, 60]])[:count],
            labels=torch.zeros(count, dtype=torch.long),
            keypoints=torch.tensor([keypoints or [[0.0, 0, 0]] * 3])[:count],
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        result.append(sample)
    return result


SEEN = [[20.0, 20, 2], [30, 30, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ('keypoints', 'trains'),
    [
        (SEEN, True),
        ([[0.0, 0, 0]] * 3, False),  # an object without labelled keypoints
        ([[5.0, 20, 2], [0, 0, 0], [0, 0, 0]], False),  # a keypoint outside of all RoIs
        (None, False),  # no object at all
    ],
)
def test_every_parameter_gets_a_gradient(keypoints, trains):
    head = roi_head()
    losses = head.loss(features(), proposals(), samples(keypoints))
    assert (losses['loss_keypoint'].item() > 0) == trains
    total = sum(value.sum() for name, value in losses.items() if 'loss' in name)
    assert torch.isfinite(total)
    total.backward()
    assert not [name for name, p in head.named_parameters() if p.grad is None]
    gradient = sum(p.grad.abs().sum() for p in head.keypoint_head.parameters())
    assert (gradient > 0) == trains


def test_positives_with_a_labelled_keypoint_of_their_own_train(monkeypatch):
    head = roi_head()
    seen = {}

    def heatmaps(x, rois):
        seen['rois'] = rois
        return torch.zeros(len(rois), 3, 56, 56, requires_grad=True)

    monkeypatch.setattr(head, '_keypoint_forward', heatmaps)
    priors = torch.tensor([[0.0, 0, 40, 40], [25.0, 25, 60, 60], [40.0, 40, 60, 60]])
    objects = torch.tensor([SEEN, [[50.0, 50, 2], [0, 0, 0], [0, 0, 0]]])
    results = [
        # RoIs 0 and 1 hold keypoints of object 0, RoI 2 only one of object 1
        SimpleNamespace(pos_priors=priors, pos_assigned_gt_inds=torch.tensor([0, 0, 0])),
        SimpleNamespace(pos_priors=priors, pos_assigned_gt_inds=torch.tensor([1, 1, 1])),
    ]
    instances = [InstanceData(keypoints=objects), InstanceData(keypoints=objects)]
    head.keypoint_loss(features(), results, instances)
    expected = [(0, 0.0), (0, 25.0), (1, 25.0), (1, 40.0)]
    assert [(int(roi[0]), roi[1].item()) for roi in seen['rois']] == expected


def test_targets_are_those_of_the_assigned_object(monkeypatch):
    """Heatmaps with a peak at the right bin have no loss; RoIs and objects differ in order."""
    head = roi_head()
    priors = torch.tensor([[0.0, 0, 56, 56], [0.0, 0, 56, 56]])
    objects = torch.tensor([SEEN, [[1.5, 0.5, 2], [0, 0, 0], [0, 0, 0]]])
    heatmaps = torch.zeros(2, 3, 56, 56)
    heatmaps[0, 0, 0, 1] = heatmaps[1, 0, 20, 20] = heatmaps[1, 1, 30, 30] = 100
    monkeypatch.setattr(head, '_keypoint_forward', lambda x, rois: heatmaps)
    result = SimpleNamespace(pos_priors=priors, pos_assigned_gt_inds=torch.tensor([1, 0]))
    loss = head.keypoint_loss(features(), [result], [InstanceData(keypoints=objects)])
    assert loss['loss_keypoint'].item() == pytest.approx(0, abs=1e-6)


def test_data_without_keypoints_is_told():
    data = samples(SEEN)
    for sample in data:
        del sample.gt_instances.keypoints
    with pytest.raises(InputError, match='come without keypoints'):
        roi_head().loss(features(), proposals(), data)


def test_predictions_are_rescaled_with_their_boxes():
    head = roi_head().eval()
    head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        large = head.predict(features(), proposals(), samples(SEEN), rescale=False)
        small = head.predict(features(), proposals(), samples(SEEN), rescale=True)
    for index, (one, other) in enumerate(zip(large, small)):
        # the heatmaps of the boxes in the input, read in the original image
        number = torch.full((len(one), 1), float(index))
        heatmaps = head._keypoint_forward(features(), torch.cat([number, one.bboxes], 1))
        expected, _ = head.keypoint_head.predict_by_feat(heatmaps, other.bboxes)
        torch.testing.assert_close(other.keypoints, expected)
        assert len(one) > 0
        assert one.keypoints.shape == (len(one), 3, 3)
        assert one.keypoint_scores.shape == (len(one), 3)
        torch.testing.assert_close(one.bboxes / 2, other.bboxes)
        torch.testing.assert_close(one.keypoint_scores, other.keypoint_scores)
        start, end = other.bboxes[:, None, :2], other.bboxes[:, None, 2:]
        points = other.keypoints[..., :2]
        assert ((points >= start) & (points <= end.maximum(start + 1))).all()


def test_no_detections_no_keypoints():
    head = roi_head().eval()
    head.test_cfg.score_thr = 1.0
    with torch.no_grad():
        results = head.predict(features(), proposals(), samples(SEEN), rescale=True)
    assert [result.keypoints.shape for result in results] == [(0, 3, 3)] * 2
    assert [result.keypoint_scores.shape for result in results] == [(0, 3)] * 2


def test_beside_a_mask_head():
    """Anybody's own config: Mask R-CNN with keypoints in addition."""
    from mmdet.structures.mask import BitmapMasks

    base = Config.fromfile(CONFIGS / '_base_/models/mask_rcnn_r18_gn.py').model.roi_head
    for part in (base.mask_head, base.mask_roi_extractor):
        part.pop('_scope_', None)
    base.mask_head.num_classes = 2
    head = roi_head(mask_head=base.mask_head, mask_roi_extractor=base.mask_roi_extractor)
    head.train_cfg.mask_size = 28
    data = samples(SEEN)
    for sample in data:
        count = len(sample.gt_instances)
        sample.gt_instances.masks = BitmapMasks(
            torch.ones(count, 128, 128).byte().numpy(), 128, 128
        )
    losses = head.loss(features(), proposals(), data)
    assert {'loss_cls', 'loss_bbox', 'loss_mask', 'loss_keypoint'} <= set(losses)
    head.eval()
    head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        result = head.predict(features(), proposals(), samples(SEEN), rescale=True)[0]
    assert result.masks.shape == (len(result), 64, 64)
    assert result.keypoints.shape == (len(result), 3, 3)
    assert result.bboxes.max() <= 64
    assert result.keypoints[..., :2].max() <= 65

"""Views merged as in Detectron: with stubs whose answers are known, and with small real models."""

from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.detectors import BaseDetector, TwoStageDetector
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

import mmscratch.data.transforms  # noqa: F401
from mmscratch.errors import InputError
from mmscratch.models.detectron_tta import DetectronTTAModel, mask_branches

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
CASCADE = Path(mmdet.__file__).parent / '.mim/configs/_base_/models/cascade-mask-rcnn_r50_fpn.py'
NUM_CLASSES = 2


def mirror_boxes(boxes: Tensor, width: int) -> Tensor:
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)


def views_of(*images: Tensor, views: list[tuple[int, bool]]) -> dict:
    """What the loader gives: each image [3, h, w], enlarged by whole numbers, mirrored or not."""
    data: dict = dict(inputs=[], data_samples=[])
    for scale, flip in views:
        shown, samples = [], []
        for number, image in enumerate(images):
            view = image.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
            shown.append(view.flip(2) if flip else view)
            sample = DetDataSample()
            sample.set_metainfo(
                dict(
                    img_id=number,
                    ori_shape=tuple(image.shape[1:]),
                    img_shape=tuple(view.shape[1:]),
                    scale_factor=(float(scale), float(scale)),
                    flip=flip,
                    flip_direction='horizontal' if flip else None,
                )
            )
            samples.append(sample)
        data['inputs'].append(shown)
        data['data_samples'].append(samples)
    return data


class Answers(nn.Module):
    """A bbox head that finds, in a view of an image, what a table says.

    ``table[img_id, scale, flip]`` lists (box in the image, label, score), the box as it is in the
    image and not in the view.
    """

    num_classes = NUM_CLASSES
    predict_box_type = 'hbox'

    def __init__(self, table: dict) -> None:
        super().__init__()
        self.table = table

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        return crops.new_zeros(len(crops), NUM_CLASSES + 1), crops.new_zeros(len(crops), 4)

    def predict_by_feat(self, batch_img_metas, rcnn_test_cfg, rescale, **kwargs):
        assert rescale
        results = []
        for meta in batch_img_metas:
            key = meta['img_id'], int(meta['scale_factor'][0]), meta.get('flip')
            found = self.table.get(key, [])
            # one row more, of a proposal that is background
            boxes = torch.zeros(len(found) + 1, NUM_CLASSES, 4)
            scores = torch.zeros(len(found) + 1, NUM_CLASSES + 1)
            for row, (box, label, score) in enumerate(found):
                boxes[row, label] = torch.tensor(box)
                scores[row, label] = score
                scores[row, -1] = 1 - score
            if meta.get('flip'):
                boxes = mirror_boxes(boxes.view(-1, 4), meta['ori_shape'][1])
            boxes, labels = multiclass_nms(
                boxes.view(-1, 4 * NUM_CLASSES),
                scores,
                rcnn_test_cfg.score_thr,
                rcnn_test_cfg.nms,
                rcnn_test_cfg.max_per_img,
            )
            results.append(InstanceData(bboxes=boxes[:, :4], scores=boxes[:, 4], labels=labels))
        return results


class ReadsTheImage(FCNMaskHead):
    """Class 0: a mask where the image is 1; class 1: where it is 0."""

    def __init__(self) -> None:
        super().__init__(num_convs=0, in_channels=1, num_classes=NUM_CLASSES, roi_feat_size=8)

    def forward(self, crops: Tensor) -> Tensor:
        logits = 40 * (crops[:, :1] - 0.5)
        return torch.cat([logits, -logits], dim=1)


class OneProposal(nn.Module):
    def predict(self, features, samples, rescale):
        return [InstanceData(bboxes=torch.tensor([[0.0, 0, 8, 8]])) for _ in samples]


class StubDetector(TwoStageDetector):
    """A detector whose features are the image."""

    def __init__(self, table: dict, masks: bool, **rcnn: object) -> None:
        BaseDetector.__init__(self, DetDataPreprocessor())
        self.rpn_head = OneProposal()
        cfg = dict(score_thr=0.05, max_per_img=100, nms=dict(type='nms', iou_threshold=0.5))
        cfg |= dict(mask_thr_binary=0.5) | rcnn
        self.roi_head = StandardRoIHead(test_cfg=ConfigDict(cfg))
        extractor = SingleRoIExtractor(
            # one sample in the middle of each of 8 x 8 bins
            roi_layer=dict(type='RoIAlign', output_size=8, sampling_ratio=1),
            out_channels=3,
            featmap_strides=[1],
        )
        self.roi_head.bbox_roi_extractor = extractor
        self.roi_head.bbox_head = Answers(table)
        if masks:
            self.roi_head.mask_roi_extractor = extractor
            self.roi_head.mask_head = ReadsTheImage()

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor]:
        return (batch_inputs,)


def stub(table: dict, masks: bool = False, **settings: object) -> DetectronTTAModel:
    rcnn = {key: settings.pop(key) for key in ('max_per_img', 'nms') if key in settings}
    return DetectronTTAModel(StubDetector(table, masks, **rcnn), **settings).eval()


@torch.no_grad()
def run(model: nn.Module, data: dict) -> list[InstanceData]:
    return [sample.pred_instances for sample in model.test_step(data)]


BLANK = torch.zeros(3, 40, 60)
TWO_VIEWS = [(1, False), (2, True)]


def test_boxes_of_all_views_are_united_and_vote_within_their_class():
    table = {
        (0, 1, False): [
            ([10.0, 10, 20, 20], 0, 0.8),
            ([30.0, 10, 40, 30], 1, 0.5),
            ([0.0, 0, 5, 5], 0, 0.04),  # below the threshold
        ],
        (0, 2, True): [
            ([10.0, 10, 20, 21], 0, 0.6),  # IoU 100 / 110: suppressed, and votes
            ([10.0, 10, 20, 20], 1, 0.7),  # of another class: neither
            ([30.0, 10, 40, 25], 1, 0.4),  # IoU 0.75: suppressed, and does not vote
            ([50.0, 0, 60, 40], 0, 0.3),  # seen in this view only
        ],
    }
    (found,) = run(stub(table), views_of(BLANK, views=TWO_VIEWS))
    assert found.labels.tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.8, 0.7, 0.5, 0.3]))
    bottom = (0.8 * 20 + 0.6 * 21) / (0.8 + 0.6)
    torch.testing.assert_close(
        found.bboxes,
        torch.tensor([[10, 10, 20, bottom], [10, 10, 20, 20], [30, 10, 40, 30], [50, 0, 60, 40]]),
    )


def test_voting_can_be_off():
    table = {
        (0, 1, False): [([10.0, 10, 20, 20], 0, 0.8), ([30.0, 10, 40, 30], 1, 0.6)],
        (0, 2, True): [([10.0, 10, 20, 21], 0, 0.2)],
    }
    (off,) = run(stub(table, vote_iou=None), views_of(BLANK, views=TWO_VIEWS))
    assert off.bboxes.tolist() == [[10, 10, 20, 20], [30, 10, 40, 30]]


def test_the_best_detections_of_all_classes_are_kept():
    table = {
        (0, 1, False): [([10.0, 10, 20, 20], 0, 0.5), ([30.0, 10, 40, 30], 1, 0.6)],
        (0, 2, True): [([50.0, 0, 60, 40], 1, 0.9)],
    }
    (found,) = run(stub(table, max_per_img=2), views_of(BLANK, views=TWO_VIEWS))
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6]))


def scene(seed: int, height: int, width: int) -> tuple[Tensor, Tensor, list]:
    """An image with two objects of 8 x 8 pixels, their masks, and their boxes."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(3, height, width)
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    found = []
    for label, (x, y) in enumerate([(3, 5), (width - 9, height - 10)]):
        pattern = torch.rand(8, 8, generator=generator) < 0.5
        image[:, y : y + 8, x : x + 8] = pattern
        # of class 1 are the dark pixels within the box
        masks[label, y : y + 8, x : x + 8] = pattern if label == 0 else ~pattern
        found.append(([float(x), float(y), x + 8.0, y + 8.0], label, 0.9 - 0.1 * label))
    return image, masks, found


SIX_VIEWS = [(scale, flip) for scale in (1, 2, 3) for flip in (False, True)]


def test_masks_of_a_perfect_predictor_are_returned_exactly():
    image, masks, found = scene(0, 24, 40)
    model = stub({(0, *view): found for view in SIX_VIEWS}, masks=True)
    (result,) = run(model, views_of(image, views=SIX_VIEWS))
    assert result.bboxes.tolist() == [box for box, _, _ in found]
    assert torch.equal(result.masks, masks)


def test_probabilities_are_averaged_before_they_become_binary():
    """Two views in three see the object inverted, but unsurely: the sure one wins."""
    image, masks, found = scene(0, 24, 40)
    views = [(2, False), (1, True), (3, True)]
    for sure in range(3):
        model = stub({(0, *view): found for view in views}, masks=True)
        data = views_of(image, views=views)
        for number in {0, 1, 2} - {sure}:
            # 0.49 where the image is 1, 0.51 where it is 0: probabilities 0.40 and 0.60
            data['inputs'][number] = [0.51 - 0.02 * shown for shown in data['inputs'][number]]
        (result,) = run(model, data)
        assert torch.equal(result.masks, masks)


def test_a_batch_is_the_images_one_by_one():
    scenes = [scene(0, 24, 40), scene(1, 33, 21), scene(2, 30, 30)]
    table = {
        (number, *view): found if number != 2 else []
        for number, (_, _, found) in enumerate(scenes)
        for view in SIX_VIEWS
    }
    images = [image for image, _, _ in scenes]
    results = run(stub(table, masks=True), views_of(*images, views=SIX_VIEWS))
    for (_, masks, found), result in zip(scenes[:2], results):
        assert result.bboxes.tolist() == [box for box, _, _ in found]
        assert torch.equal(result.masks, masks)
    assert results[2].bboxes.shape == (0, 4)
    assert results[2].masks.shape == (0, 30, 30)


def test_nothing_found():
    (result,) = run(stub({}, masks=True), views_of(BLANK, views=TWO_VIEWS))
    assert result.bboxes.shape == (0, 4)
    assert result.scores.shape == result.labels.shape == (0,)
    assert result.masks.shape == (0, 40, 60)
    assert result.masks.dtype == torch.bool
    (result,) = run(stub({}), views_of(BLANK, views=TWO_VIEWS))
    assert 'masks' not in result


def small_model(kind: str) -> nn.Module:
    """A detector with random weights: it finds things everywhere."""
    register_all_modules()
    if kind == 'cascade':
        cfg = Config.fromfile(CASCADE)
        cfg.model.backbone.update(depth=18, base_channels=16, stem_channels=16, init_cfg=None)
        cfg.model.neck.update(in_channels=[16, 32, 64, 128], out_channels=16)
        cfg.model.rpn_head.update(in_channels=16, feat_channels=16)
        roi_head = cfg.model.roi_head
        roi_head.bbox_roi_extractor.out_channels = roi_head.mask_roi_extractor.out_channels = 16
        for head in roi_head.bbox_head:
            head.update(in_channels=16, fc_out_channels=32, num_classes=3)
        roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_classes=3)
    else:
        cfg = Config.fromfile(CONFIGS / 'scratch' / 'mask_rcnn_r18_gn_600i_shapes.py')
    if kind == 'single_mask':
        cfg.model.roi_head.type = 'SingleMaskCascadeRoIHead'
    if kind == 'faster':
        cfg.model.type = 'FasterRCNN'
        del cfg.model.roi_head.mask_head, cfg.model.roi_head.mask_roi_extractor
    cfg.model.test_cfg.rpn.max_per_img = 60
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    if kind != 'faster':
        # MMDetection's initial logits are all of one sign
        for _, head in mask_branches(model.roi_head):
            nn.init.normal_(head.conv_logits.weight)
    return model


def noise(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 12, generator=generator)
    # a multiple of 32, so that padding does not break the symmetry
    image = nn.functional.interpolate(coarse, size=(64, 96), mode='bicubic')[0]
    return (255 * image).round().clamp(0, 255)


@pytest.mark.parametrize('kind', ['faster', 'mask', 'cascade', 'single_mask'])
@pytest.mark.parametrize('scale', [1, 2])
def test_a_single_view_without_voting_is_plain_testing(kind, scale):
    model = small_model(kind)
    data = views_of(noise(0), views=[(scale, False)])
    (plain,) = run(model, {key: value[0] for key, value in data.items()})
    data = views_of(noise(0), views=[(scale, False)])
    (augmented,) = run(DetectronTTAModel(model, vote_iou=None), data)
    assert len(plain) > 20
    assert kind == 'faster' or plain.masks.sum() > 1000
    assert set(plain.keys()) == set(augmented.keys())
    for key, value in plain.items():
        assert torch.equal(value, augmented[key]), key


@pytest.mark.parametrize('kind', ['mask', 'cascade'])
def test_a_mirrored_image_gives_mirrored_detections(kind):
    model = DetectronTTAModel(small_model(kind))
    views = [(1, False), (1, True)]
    (straight,) = run(model, views_of(noise(0), views=views))
    (mirrored,) = run(model, views_of(noise(0).flip(2), views=views))
    assert len(straight) > 20
    torch.testing.assert_close(mirrored.scores, straight.scores)
    assert torch.equal(mirrored.labels, straight.labels)
    torch.testing.assert_close(
        mirrored.bboxes, mirror_boxes(straight.bboxes, 96), rtol=0, atol=1e-3
    )
    # coordinates are rounded, so a pixel may fall on the other side of the threshold
    assert straight.masks.sum() > 1000
    assert (mirrored.masks.flip(2) != straight.masks).sum() < 0.01 * straight.masks.sum()


def test_a_sample_that_does_not_say_whether_it_is_flipped():
    data = views_of(BLANK, views=TWO_VIEWS)
    for (sample,) in data['data_samples']:
        del sample.flip
    with pytest.raises(InputError, match='RandomFlip'):
        run(stub({}), data)


def test_detectors_that_predict_in_another_way_are_refused():
    class OtherRoIHead(StandardRoIHead):
        def predict_mask(self, *arguments):
            raise NotImplementedError

    detector = StubDetector({}, masks=True)
    detector.roi_head.__class__ = OtherRoIHead
    with pytest.raises(InputError, match='StubDetector with OtherRoIHead does not predict'):
        DetectronTTAModel(detector)
    detector = StubDetector({}, masks=False)
    detector.rpn_head = None
    with pytest.raises(InputError, match='StubDetector with StandardRoIHead does not'):
        DetectronTTAModel(detector)
    detector = BaseDetector.__new__(MODELS.get('SingleStageDetector'))
    BaseDetector.__init__(detector)
    with pytest.raises(InputError, match='SingleStageDetector with NoneType does not'):
        DetectronTTAModel(detector)


@pytest.mark.parametrize('vote_iou', [0.0, 1.5, 90])
def test_settings_of_the_voting_are_checked_at_once(vote_iou):
    with pytest.raises(InputError, match=f'vote_iou={vote_iou}: give one in'):
        stub({}, vote_iou=vote_iou)


def view_sizes(base: str, height: int, width: int) -> list[tuple[int, int, bool]]:
    """(height, width, mirrored) of each view that the tta_pipeline of a dataset base makes."""
    register_all_modules()
    cfg = Config.fromfile(CONFIGS / '_base_' / 'datasets' / base)
    augment = TRANSFORMS.build(cfg.tta_pipeline[1])
    image = np.zeros((height, width, 3), np.uint8)
    results = augment(
        dict(
            img=image, img_id=0, ori_shape=(height, width), img_shape=(height, width), instances=[]
        )
    )
    for view, sample in zip(results['inputs'], results['data_samples']):
        factors = view.shape[2] / width, view.shape[1] / height
        assert sample.scale_factor == pytest.approx(factors)
    return [
        (*view.shape[1:], sample.flip)
        for view, sample in zip(results['inputs'], results['data_samples'])
    ]


def test_the_views_of_coco_are_detectrons():
    shorter = [800, 400, 500, 600, 700, 900, 1000, 1100, 1200]
    assert view_sizes('coco_instance.py', 480, 640) == [
        (side, int(side * 640 / 480 + 0.5), flip) for side in shorter for flip in (False, True)
    ]
    # at most 1333 in the first view, 2000 in the others
    assert [size[:2] for size in view_sizes('coco_instance.py', 1000, 300)[::2]] == [
        (1333, 400),
        (1333, 400),
        (1667, 500),
        (2000, 600),
        (2000, 600),
        (2000, 600),
        (2000, 600),
        (2000, 600),
        (2000, 600),
    ]


def test_the_views_of_small_images():
    assert view_sizes('shapes_instance.py', 96, 160) == [
        (height, width, flip)
        for height, width in [(96, 160), (72, 120), (120, 200), (144, 240)]
        for flip in (False, True)
    ]
    # 512 x 1024 shrinks to 192 x 384
    assert [size[:2] for size in view_sizes('shapes_instance.py', 512, 1024)[::2]] == [
        (192, 384),
        (144, 288),
        (240, 480),
        (288, 576),
    ]

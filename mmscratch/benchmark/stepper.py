"""Training steps of a detector, without a Runner: the models that the suite compares."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import mmdet
import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from mmscratch.benchmark import speed
from mmscratch.config.sections import walk
from mmscratch.data import repoint
from mmscratch.models import speedups

OURS = 'configs/scratch/mask_rcnn_r50_gn_6x.py'
OURS_BN = 'configs/scratch/mask_rcnn_r50_syncbn_6x.py'
MMDETECTION = str(
    Path(mmdet.__file__).parent / '.mim/configs/scratch/mask-rcnn_r50-scratch_fpn_gn-all_6x_coco.py'
)
TORCHVISION = 'torchvision'
CLASSES = 80

# ResNet-18 and few RoIs, for a test of the suite itself
TINY_BACKBONE = dict(depth=18)
TINY_CHANNELS = [64, 128, 256, 512]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A model and how it is run.

    Args:
        model: a config file, or 'torchvision': its Mask R-CNN with GN where OURS has it. BN of
            OURS_BN is a fixed scale and shift.
        batch: images a step.
        bf16: autocast to bfloat16, as ``--amp-bfloat16``.
        faster: names of ``mmscratch.models.speedups.PARTS`` that are in place.
    """

    model: str = OURS
    batch: int = 2
    bf16: bool = False
    faster: tuple[str, ...] = tuple(speedups.PARTS)


class Stepper:
    """A model in training, and its optimizer; each call is a step.

    Args:
        variant: what to build.
        data: folder of images in COCO layout, which the config is pointed at.
        batches: of :func:`batches`; taken in turn.
        device: ``cuda`` or ``cpu``.
        tiny: a smaller model.
    """

    def __init__(
        self, variant: Variant, data: Path, batches: list[dict], device: str, tiny: bool
    ) -> None:
        self.variant, self.device = variant, device
        self._steps = 0
        speedups.use(variant.faster)
        parameters: list
        self._is_torchvision = variant.model == TORCHVISION
        if self._is_torchvision:
            self.model = torchvision_mask_rcnn(tiny)
            parameters = [p for p in self.model.parameters() if p.requires_grad]
            self._batches = [torchvision_batch(batch) for batch in batches]
        else:
            self.model, parameters = mmdet_model(variant, data, tiny)
            self._batches = batches
        self.model.to(device).train()
        for module in self.model.modules():
            if variant.model == OURS_BN and isinstance(module, nn.BatchNorm2d):
                module.eval().requires_grad_(False)
        # the faster SGD, if the variant has it
        sgd = OPTIMIZERS.get('SGD')
        self.optimizer = sgd(parameters, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def __call__(self) -> None:
        """One step; it isn't waited for."""
        speedups.use(self.variant.faster)
        self.backward(self.loss())
        self.update()

    def loss(self) -> Tensor:
        """The sum of the losses of the next batch."""
        self._steps += 1
        batch = self._batches[self._steps % len(self._batches)]
        with torch.autocast(self.device, torch.bfloat16, enabled=self.variant.bf16):
            if self._is_torchvision:
                images = [image.to(self.device).float() / 255 for image in batch['images']]
                targets = [
                    {key: value.to(self.device) for key, value in target.items()}
                    for target in batch['targets']
                ]
                return sum(self.model(images, targets).values())
            data = self.model.data_preprocessor(batch, True)
            return self.model.parse_losses(self.model(**data, mode='loss'))[0]

    def backward(self, loss: Tensor) -> None:
        """Gradients."""
        loss.backward()

    def update(self) -> None:
        """Weights."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def stages(self) -> list[tuple[str, Any, str]]:
        """The stages of a step that follow each other: (name, object, method)."""
        model = self.model
        if self._is_torchvision:
            inner = [
                ('preprocessing', model.transform, 'forward'),
                ('backbone and neck', model.backbone, 'forward'),
                ('RPN', model.rpn, 'forward'),
                ('RoI heads', model.roi_heads, 'forward'),
            ]
        else:
            inner = [
                ('preprocessing', model.data_preprocessor, 'forward'),
                ('backbone and neck', model, 'extract_feat'),
                ('RPN', model.rpn_head, 'loss_and_predict'),
                ('RoI heads', model.roi_head, 'loss'),
            ]
        return [*inner, ('backward', self, 'backward'), ('optimizer', self, 'update')]


def load(model: str, data: Path, tiny: bool) -> Any:
    """The config on ``data``, with heads for COCO's 80 classes whatever the data have."""
    cfg = speed.load(model, data)
    repoint.set_num_classes(cfg.model, CLASSES)
    if tiny:
        cfg.model.backbone.update(TINY_BACKBONE)
        cfg.model.neck.in_channels = TINY_CHANNELS
        cfg.model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
        cfg.model.train_cfg.rcnn.sampler.num = 8
    for node in walk(cfg.train_dataloader.dataset):
        if node.get('type') == 'Resize' and tiny:
            node['scale'] = (160, 96)
    return cfg


def batches(data: Path, size: int, number: int, tiny: bool) -> list[dict]:
    """Batches of ``size`` images each, as OURS loads them: 1333 x 800 pixels."""
    from mmdet.registry import DATASETS
    from mmengine.dataset import pseudo_collate

    images = DATASETS.build(load(OURS, data, tiny).train_dataloader.dataset)
    return [
        pseudo_collate([images[(i * size + k) % len(images)] for k in range(size)])
        for i in range(number)
    ]


def mmdet_model(variant: Variant, data: Path, tiny: bool) -> tuple[nn.Module, list[dict]]:
    """The model of a config, and its parameters with their rates and decays, one group each."""
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    cfg = load(variant.model, data, tiny)
    # on one GPU they are the same
    for node in walk(cfg.model):
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
    model = MODELS.build(cfg.model)
    model.init_weights()
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    keys = ('params', 'lr', 'weight_decay')
    return model, [{key: group[key] for key in keys} for group in groups]


def torchvision_mask_rcnn(tiny: bool) -> nn.Module:
    """Mask R-CNN of torchvision with the heads of OURS, GN in the same places, all layers trained.

    It resizes to 800 / 1333 as OURS does, and takes 2000 proposals and 512 RoIs an image.
    """
    from torchvision.models import resnet18, resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads

    def norm(channels: int) -> nn.Module:
        return nn.GroupNorm(32, channels)

    resnet, channels = (resnet18, TINY_CHANNELS) if tiny else (resnet50, [256, 512, 1024, 2048])
    backbone = BackboneWithFPN(
        resnet(norm_layer=norm),
        {f'layer{i + 1}': str(i) for i in range(4)},
        channels,
        256,
        norm_layer=norm,
    )
    return MaskRCNN(
        backbone,
        CLASSES + 1,
        min_size=96 if tiny else 800,
        max_size=160 if tiny else 1333,
        box_head=FastRCNNConvFCHead((256, 7, 7), 4 * [256], [1024], norm_layer=norm),
        mask_head=MaskRCNNHeads(256, 4 * [256], 1, norm_layer=norm),
        rpn_pre_nms_top_n_train=50 if tiny else 2000,
        rpn_post_nms_top_n_train=20 if tiny else 2000,
        box_batch_size_per_image=8 if tiny else 512,
    )


def torchvision_batch(batch: dict) -> dict:
    """A batch of MMDetection in torchvision's form; images stay bytes until they are on the GPU."""
    targets = [
        dict(
            boxes=sample.gt_instances.bboxes.tensor,
            labels=sample.gt_instances.labels + 1,
            masks=torch.from_numpy(sample.gt_instances.masks.masks),
        )
        for sample in batch['data_samples']
    ]
    return dict(images=[image.flip(0) for image in batch['inputs']], targets=targets)


@contextlib.contextmanager
def wrapped(stages: list[tuple[str, Any, str]], around: Any) -> Any:
    """Within the context, each stage's method runs within ``around(name)``."""

    def inside(name: str, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            with around(name):
                return method(*args, **kwargs)

        return call

    before = [vars(owner).get(method) for _, owner, method in stages]
    for name, owner, method in stages:
        vars(owner)[method] = inside(name, getattr(owner, method))
    try:
        yield
    finally:
        for (_, owner, method), own in zip(stages, before, strict=True):
            vars(owner)[method] = own
            if own is None:
                del vars(owner)[method]

"""Pre-training of a backbone on images without labels, by contrast of two views of an image."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.model.utils import _BatchNormXd
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmscratch.errors import InputError

MAPS = 64  # side of the image whose map says how many channels the backbone has


@MODELS.register_module()
class DenseCL(BaseModel):
    """DenseCL (Wang et al., CVPR 2021, section 3); MoCo v2 (Chen et al. 2020) without dense loss.

    An encoder that learns maps the first view of each image to a query, a slow copy of it (the
    momentum encoder) maps the second view to a key. Each query shall be like the key of its image,
    and unlike the keys of earlier images, which a queue holds. The dense loss says the same of each
    cell of the last feature map: its key is the cell of the other view whose backbone features are
    most alike (eq. 4), its negatives are the means of earlier dense keys.

    The defaults are for a few hundred to a few thousand images. For a million, the papers take
    ``queue_length=65536`` and ``momentum=0.999``. In a short run that momentum would leave the
    keys to nearly random weights, since it averages over 1 / (1 - momentum) iterations. A queue
    longer than half of the images holds an older key of most queries' own image, as a negative.

    BN lets an encoder tell an image's key by the statistics of their common batch (MoCo, section
    3.3). A backbone with BN therefore runs on ``bn_groups`` parts of the batch, one after another,
    and each image is in one part for its query and in another, drawn at random, for its key. GN
    has no such leak, and takes the batch in one piece.

    Args:
        backbone: of a detector; its last map is taken.
        data_preprocessor: normalizes the views, see :class:`TwoViewsPreprocessor`.
        dense_weight: lambda of eq. 3, from 0 (MoCo v2) to below 1.
        embedding_channels: length of queries and keys.
        hidden_channels: of both projections; None for those of the last map, as in the papers.
        queue_length: number of keys in each queue.
        momentum: of the momentum encoder, 0 to 1: the share that it keeps in an iteration.
        temperature: tau of eq. 1.
        bn_groups: parts of the batch for BN; 1 turns the cure off.

    Example:
        >>> model = dict(
        ...     type='DenseCL',
        ...     backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='GN', num_groups=32)),
        ...     data_preprocessor=dict(type='TwoViewsPreprocessor', mean=[0.0], std=[255.0]),
        ...     queue_length=256)
    """

    def __init__(
        self,
        backbone: dict,
        data_preprocessor: dict,
        dense_weight: float = 0.5,
        embedding_channels: int = 128,
        hidden_channels: int | None = None,
        queue_length: int = 256,
        momentum: float = 0.99,
        temperature: float = 0.2,
        bn_groups: int = 4,
    ) -> None:
        super().__init__(data_preprocessor)
        if not 0 <= dense_weight < 1:
            raise InputError(f'model.dense_weight={dense_weight}: give 0 (MoCo v2) to below 1')
        self.backbone = MODELS.build(backbone)
        channels = _map_channels(self.backbone)
        hidden = hidden_channels or channels
        layers = (channels, hidden, embedding_channels)
        self.projection = nn.ModuleDict({'image': _mlp(*layers)})
        if dense_weight:
            self.projection['cell'] = _mlp(*layers)
        self.momentum_encoder = ExponentialMovingAverage(self._encoder(), 1 - momentum)
        for name in self.projection:
            keys = F.normalize(torch.randn(queue_length, embedding_channels), dim=1)
            self.register_buffer(f'{name}_queue', keys)
        self.register_buffer('queue_position', torch.tensor(0))
        self.dense_weight = dense_weight
        self.temperature = temperature
        has_bn = any(isinstance(m, _BatchNorm | _BatchNormXd) for m in self.backbone.modules())
        self.bn_groups = bn_groups if has_bn else 1

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> dict[str, Tensor] | Tensor:
        """Views [B, 2, 3, H, W] to losses (mode ``'loss'``); images [B, 3, H, W] to embeddings.

        The embeddings (mode ``'tensor'``) are the queries [B, embedding_channels], of length 1.
        ``'loss'`` also gives what :class:`~mmscratch.hooks.CollapseHook` watches: for each loss,
        the spread of its queries over the batch, and for images their effective rank.
        """
        if mode == 'tensor':
            return _project(self._encoder(), inputs)['image']
        queries, keys = self._queries_and_keys(inputs)
        weights = {'image': 1 - self.dense_weight, 'cell': self.dense_weight}
        outputs: dict[str, Tensor] = {}
        for name in self.projection:
            query, key = queries[name], keys[name]
            # backward needs the queue as it is before _enqueue
            queue = getattr(self, f'{name}_queue').clone()
            if name == 'cell':
                key = _most_alike(queries['map'], keys['map'], key)
            loss = info_nce(query.flatten(0, -2), key.flatten(0, -2), queue, self.temperature)
            outputs[f'loss_{name}'] = weights[name] * loss
        for name in self.projection:
            outputs[f'{name}_spread'] = spread(queries[name].detach().flatten(0, -2))
        outputs['effective_rank'] = effective_rank(queries['image'].detach())
        self._enqueue(keys)
        return outputs

    def _encoder(self) -> nn.ModuleList:
        """What the momentum encoder is a copy of."""
        return nn.ModuleList([self.backbone, self.projection])

    def _queries_and_keys(self, views: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        parts = min(self.bn_groups, len(views))
        queries = _in_parts(self._encoder(), views[:, 0], parts)
        with torch.no_grad():
            self.momentum_encoder.update_parameters(self._encoder())
            if parts == 1:
                return queries, _in_parts(self.momentum_encoder.module, views[:, 1], 1)
            order = torch.randperm(len(views), device=views.device)
            shuffled = _in_parts(self.momentum_encoder.module, views[order, 1], parts)
            return queries, {name: keys[order.argsort()] for name, keys in shuffled.items()}

    def _enqueue(self, keys: dict[str, Tensor]) -> None:
        """Replace the oldest keys of each queue by those of this batch."""
        for name in self.projection:
            queue = getattr(self, f'{name}_queue')
            # of cells the mean, as in section 3.2
            new = keys[name] if name == 'image' else F.normalize(keys[name].mean(1), dim=1)
            new = new[-len(queue) :]
            places = (self.queue_position + torch.arange(len(new), device=new.device)) % len(queue)
            queue[places] = new
        self.queue_position.copy_((places[-1] + 1) % len(queue))


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of queries [N, D] with their keys [N, D] against a queue [K, D] (eq. 1).

    All vectors have length 1. The result is the mean over the queries.
    """
    positive = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positive, query @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def spread(embeddings: Tensor) -> Tensor:
    """Standard deviation of embeddings [N, D] of length 1, by the sqrt(1 / D) of a whole sphere.

    0 is a collapse: all are the same. 1 is uniform over the sphere (Chen and He, "Exploring Simple
    Siamese Representation Learning", CVPR 2021, section 4.1).
    """
    return embeddings.std(0, correction=0).mean() * embeddings.shape[1] ** 0.5


def effective_rank(embeddings: Tensor) -> Tensor:
    """Number of dimensions that embeddings [N, D] make use of, 1 to min(N, D).

    Exponential of the entropy of the singular values' shares (Roy and Vetterli, EUSIPCO 2007).
    """
    values = torch.linalg.svdvals((embeddings - embeddings.mean(0)).float())
    return torch.special.entr(values / values.sum().clamp(min=1e-12)).sum().exp()


def _mlp(channels: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, out))


def _map_channels(backbone: nn.Module) -> int:
    """Channels of the last map of a backbone, by an image of zeros."""
    # train() of MMDetection's ResNet returns nothing
    backbone.eval()
    with torch.no_grad():
        channels = backbone(torch.zeros(1, 3, MAPS, MAPS))[-1].shape[1]
    backbone.train()
    return channels


def _project(encoder: nn.ModuleList, images: Tensor) -> dict[str, Tensor]:
    """Embeddings of images [B, D] and of cells [B, S, D], of length 1, and the map [B, S, C]."""
    backbone, projection = encoder
    cells = backbone(images)[-1].flatten(2).transpose(1, 2)
    embedded = {'image': projection['image'](cells.mean(1))}
    if 'cell' in projection:
        embedded |= {'cell': projection['cell'](cells), 'map': cells.detach()}
    return {name: F.normalize(value, dim=-1) for name, value in embedded.items()}


def _in_parts(encoder: nn.ModuleList, images: Tensor, parts: int) -> dict[str, Tensor]:
    outputs = [_project(encoder, part) for part in images.tensor_split(parts)]
    return {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}


def _most_alike(query_maps: Tensor, key_maps: Tensor, keys: Tensor) -> Tensor:
    """For each cell of a query, the key of the most similar cell of the other view (eq. 4).

    Args:
        query_maps: features [B, S, C] of length 1, of the first view.
        key_maps: those of the second view.
        keys: dense keys [B, S, D] of the second view.

    Returns:
        [B, S, D].
    """
    matches = (query_maps @ key_maps.transpose(1, 2)).argmax(2)
    return keys.gather(1, matches[..., None].expand_as(keys))

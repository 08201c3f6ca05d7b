"""Pre-training of a backbone on images without labels, by contrast of two views of an image."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModel, ExponentialMovingAverage
from torch import Tensor, nn

from mmscratch.errors import InputError

MAPS = 64  # side of the image whose map says how many channels the backbone has


@MODELS.register_module()
class DenseCL(BaseModel):
    """DenseCL (Wang et al., CVPR 2021, section 3); MoCo v2 (Chen et al. 2020) without dense loss.

    The encoder maps the first view of each image to a query. The momentum encoder, a moving average
    of it, maps the second view to a key. The loss pulls each query towards the key of its image,
    and away from the keys of other images, of which a queue holds earlier ones. The dense loss does
    the same for each cell of the last feature map. The key of a cell is that of the cell of the
    other view whose backbone features are most alike (eq. 4). Its negatives are the means of other
    images' dense keys.

    Two things differ from both papers, since without them the embeddings of 500 images became the
    same. The projections have BN, as in SimCLR and MoCo v3: features of a backbone with GN have a
    large part that all images share. The keys of the batch's other images are negatives too: a
    short queue has the keys of a few iterations, and a network that changes fast tells its new keys
    from older ones whatever the images show.

    The defaults are for a few hundred to a few thousand images. For a million, the papers take
    ``queue_length=65536`` and ``momentum=0.999``. In a short run that momentum would leave the
    keys to nearly random weights, since it averages over 1 / (1 - momentum) iterations. A queue
    longer than half of the images holds an older key of most queries' own image, as a negative.

    BN lets an encoder tell an image's key from those in the queue by the statistics of their common
    batch (MoCo, section 3.3, which shuffles images over GPUs against it). Here it gains nothing by
    that, since the other keys of the batch have the same statistics.

    Args:
        backbone: of a detector; its last map is taken.
        data_preprocessor: normalizes the views, see :class:`TwoViewsPreprocessor`.
        dense_weight: lambda of eq. 3, from 0 (MoCo v2) to below 1.
        embedding_channels: length of queries and keys.
        hidden_channels: of both projections; None for those of the last map, as in the papers.
        queue_length: number of keys in each queue, 1 or more.
        momentum: of the momentum encoder, between 0 and 1: the share that it keeps in an iteration.
        temperature: tau of eq. 1.

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
    ) -> None:
        super().__init__(data_preprocessor)
        if not 0 <= dense_weight < 1:
            raise InputError(f'model.dense_weight={dense_weight}: give 0 (MoCo v2) to below 1')
        self.backbone = MODELS.build(backbone)
        channels = _map_channels(self.backbone, backbone.get('in_channels', 3))
        hidden = hidden_channels or channels
        layers = (channels, hidden, embedding_channels)
        self.projection = nn.ModuleDict({'image': _projection(*layers)})
        if dense_weight:
            self.projection['cell'] = _projection(*layers)
        self.momentum_encoder = ExponentialMovingAverage(self._encoder(), 1 - momentum)
        for name in self.projection:
            keys = F.normalize(torch.randn(queue_length, embedding_channels), dim=1)
            self.register_buffer(f'{name}_queue', keys)
        self.register_buffer('queue_position', torch.tensor(0))
        self.dense_weight = dense_weight
        self.temperature = temperature

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> dict[str, Tensor] | Tensor:
        """Views [B, 2, C, H, W] to losses (mode ``'loss'``); images [B, C, H, W] to embeddings.

        The embeddings (mode ``'tensor'``) are the queries [B, embedding_channels], of length 1.
        ``'loss'`` also gives what :class:`~mmscratch.hooks.CollapseHook` watches: for each loss,
        the spread of its queries over the batch, and for images their effective rank.
        """
        if mode == 'tensor':
            return _embed(self._encoder(), inputs)['image'].flatten(0, 1)
        queries = _embed(self._encoder(), inputs[:, 0])
        with torch.no_grad():
            self.momentum_encoder.update_parameters(self._encoder())
            keys = _embed(self.momentum_encoder.module, inputs[:, 1])
        weights = {'image': 1 - self.dense_weight, 'cell': self.dense_weight}
        outputs: dict[str, Tensor] = {}
        new: dict[str, Tensor] = {}
        for name in self.projection:
            query, key = queries[name], keys[name]
            # of cells the mean, as in section 3.2
            new[name] = F.normalize(key.mean(1), dim=1)
            if name == 'cell':
                key = most_alike(queries['map'], keys['map'], key)
            negatives = torch.cat([new[name], getattr(self, f'{name}_queue')])
            loss = info_nce(query, key, negatives, self.temperature)
            outputs[f'loss_{name}'] = weights[name] * loss
            outputs[f'{name}_spread'] = spread(query.detach().flatten(0, 1))
        outputs['effective_rank'] = effective_rank(queries['image'].detach().flatten(0, 1))
        self._enqueue(new)
        return outputs

    def train(self, mode: bool = True) -> 'DenseCL':
        """Set the mode of all layers, those of the momentum encoder too.

        Its weights have no gradient, so that a backbone may take it for frozen and leave its BN in
        eval mode. Keys would be normalized otherwise than queries.
        """
        super().train(mode)
        for module in self.momentum_encoder.modules():
            module.training = mode
        return self

    def _encoder(self) -> nn.ModuleList:
        """What the momentum encoder is a copy of."""
        return nn.ModuleList([self.backbone, self.projection])

    def _enqueue(self, new: dict[str, Tensor]) -> None:
        """Replace the oldest keys of each queue by those of this batch."""
        for name, keys in new.items():
            queue = getattr(self, f'{name}_queue')
            keys = keys[-len(queue) :]
            places = torch.arange(len(keys), device=keys.device) + self.queue_position
            queue[places % len(queue)] = keys
        self.queue_position.copy_((places[-1] + 1) % len(queue))


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Contrastive loss (eq. 1 and 2) of vectors of length 1, a mean over all queries.

    Args:
        query: [B, S, D], S of each image.
        key: [B, S, D], the key of each query.
        negatives: [B + K, D]. The first B are of the images of this batch; no query is contrasted
            with that of its own image.
        temperature: tau, above 0.
    """
    positive = (query * key).sum(2, keepdim=True)
    own = torch.eye(len(query), len(negatives), dtype=torch.bool, device=query.device)
    negative = (query @ negatives.T).masked_fill(own[:, None], -torch.inf)
    logits = torch.cat([positive, negative], dim=2).flatten(0, 1) / temperature
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


def _projection(channels: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, hidden, 1, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Conv1d(hidden, out, 1),
    )


def _map_channels(backbone: nn.Module, in_channels: int) -> int:
    """Channels of the last map of a backbone, by an image of zeros."""
    # train() of MMDetection's ResNet returns nothing
    backbone.eval()
    with torch.no_grad():
        channels = backbone(torch.zeros(1, in_channels, MAPS, MAPS))[-1].shape[1]
    backbone.train()
    return channels


def _embed(encoder: nn.ModuleList, images: Tensor) -> dict[str, Tensor]:
    """Embeddings of images [B, 1, D] and cells [B, S, D], and the map [B, S, C], of length 1."""
    backbone, projection = encoder
    cells = backbone(images)[-1].flatten(2)
    embedded = {'image': projection['image'](cells.mean(2, keepdim=True))}
    if 'cell' in projection:
        embedded |= {'cell': projection['cell'](cells), 'map': cells.detach()}
    return {name: F.normalize(value.mT, dim=2) for name, value in embedded.items()}


def most_alike(query_maps: Tensor, key_maps: Tensor, keys: Tensor) -> Tensor:
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

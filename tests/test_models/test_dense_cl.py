import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope

from mmscratch.errors import InputError
from mmscratch.models import DenseCL
from mmscratch.models.dense_cl import effective_rank, info_nce, most_alike, spread

NORMALIZE = dict(type='TwoViewsPreprocessor', mean=[100.0] * 3, std=[50.0] * 3)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


def make(norm='GN', **options) -> DenseCL:
    norm_cfg = dict(
        GN=dict(type='GN', num_groups=4), BN=dict(type='BN'), SyncBN=dict(type='SyncBN')
    )[norm]
    backbone = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=norm_cfg)
    backbone.update(norm_eval=False, frozen_stages=-1, zero_init_residual=False)
    torch.manual_seed(0)
    options = {'queue_length': 12, 'embedding_channels': 8, **options}
    model = DenseCL(backbone, NORMALIZE, **options)
    model.init_weights()
    return model.train()


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def views(images: int = 6) -> torch.Tensor:
    return torch.rand(images, 2, 3, 64, 64)


def losses_of(model: DenseCL, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    return model(inputs, mode='loss')


def keys_of(model: DenseCL, images: torch.Tensor) -> torch.Tensor:
    features = model.momentum_encoder.module[0](images)[-1].mean((2, 3))
    return F.normalize(model.projection['image'](features[..., None])[..., 0], dim=1)


def test_info_nce_is_the_papers_formula():
    """Two queries of each of three images; the first three negatives are of these images."""
    torch.manual_seed(0)
    queries, keys, negatives = unit(3, 2, 8), unit(3, 2, 8), unit(7, 8)
    total = 0.0
    for image in range(3):
        others = [vector for number, vector in enumerate(negatives) if number != image]
        for query, key in zip(queries[image], keys[image]):
            exps = [math.exp(float(query @ vector) / 0.3) for vector in [key, *others]]
            total -= math.log(exps[0] / sum(exps))
    assert float(info_nce(queries, keys, negatives, 0.3)) == pytest.approx(total / 6, rel=1e-5)


def test_loss_and_match_of_cells_equal_lightlys():
    """lightly 1.6's NTXentLoss with a memory bank, as its examples of MoCo and DenseCL use it."""
    lightly = pytest.importorskip('lightly.loss.ntx_ent_loss')
    utils = pytest.importorskip('lightly.models.utils')
    torch.manual_seed(0)
    raw, keys, negatives = torch.randn(3, 2, 8, requires_grad=True), unit(3, 2, 8), unit(9, 8)
    ours = info_nce(F.normalize(raw, dim=2), keys, negatives, 0.2)
    expected = torch.zeros(())
    for image in range(3):
        theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(8, 8))
        theirs.memory_bank.bank = torch.cat([negatives[:image], negatives[image + 1 :]])
        expected = expected + theirs(raw[image], keys[image]) / 3
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(loss, raw)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)
    maps, other_maps, dense = unit(3, 9, 16), unit(3, 9, 16), unit(3, 9, 8)
    expected = utils.select_most_similar(maps, other_maps, dense)
    torch.testing.assert_close(most_alike(maps, other_maps, dense), expected)


def test_a_cell_takes_the_key_of_themost_alike_cell_of_its_own_image():
    maps = torch.eye(4).expand(2, 4, 4)
    moved = maps[:, [2, 0, 3, 1]]
    keys = unit(2, 4, 5)
    # cell 0 is found at place 1, cell 1 at 3, cell 2 at 0, cell 3 at 2
    assert most_alike(maps, moved, keys).equal(keys[:, [1, 3, 0, 2]])


def test_spread_is_0_for_equal_and_1_for_uniform_embeddings():
    torch.manual_seed(0)
    assert float(spread(unit(1, 64).expand(32, 64))) == pytest.approx(0, abs=1e-6)
    assert float(spread(unit(4096, 64))) == pytest.approx(1, abs=0.01)


def test_effective_rank_counts_dimensions():
    torch.manual_seed(0)
    line = torch.randn(500, 1) @ torch.randn(1, 16)
    assert float(effective_rank(line)) == pytest.approx(1, abs=0.01)
    assert float(effective_rank(torch.randn(5000, 16))) == pytest.approx(16, abs=0.1)
    assert math.isfinite(float(effective_rank(torch.ones(5, 3))))


@pytest.mark.parametrize('weight', [0.0, 0.5])
def test_every_parameter_of_the_encoder_learns_and_none_of_the_keys(weight):
    model = make(dense_weight=weight)
    outputs = losses_of(model, views())
    names = {'loss_image', 'image_spread', 'effective_rank'}
    assert outputs.keys() == names | ({'loss_cell', 'cell_spread'} if weight else set())
    loss, logged = model.parse_losses(outputs)
    outputs = {name: value.detach() for name, value in outputs.items()}
    assert float(logged['loss'].detach()) == pytest.approx(
        sum(float(value) for name, value in outputs.items() if name.startswith('loss'))
    )
    loss.backward()
    for name, parameter in model.named_parameters():
        is_key = name.startswith('momentum_encoder')
        assert (parameter.grad is None) == is_key, name
        assert is_key or parameter.grad.abs().sum() > 0, name


def test_the_losses_are_those_of_the_views(monkeypatch):
    """Against the formulas of the paper, step by step, with the weights of the first iteration."""
    model = make(dense_weight=0.25, temperature=0.5)
    inputs = views(3)
    image_queue, cell_queue = model.image_queue.clone(), model.cell_queue.clone()
    outputs = losses_of(model, inputs)
    maps = [model.backbone(inputs[:, view])[-1].flatten(2) for view in (0, 1)]
    query, key = (
        F.normalize(model.projection['image'](m.mean(2, keepdim=True))[..., 0], dim=1) for m in maps
    )
    expected = info_nce(query[:, None], key[:, None], torch.cat([key, image_queue]), 0.5)
    torch.testing.assert_close(outputs['loss_image'], 0.75 * expected)
    dense = [F.normalize(model.projection['cell'](m), dim=1).mT for m in maps]
    maps = [m.mT for m in maps]
    alike = [
        [
            F.cosine_similarity(maps[0][image, cell][None], maps[1][image], dim=1).argmax()
            for cell in range(4)
        ]
        for image in range(3)
    ]
    matched = torch.stack([dense[1][image, cells] for image, cells in enumerate(alike)])
    means = F.normalize(dense[1].mean(1), dim=1)
    expected = info_nce(dense[0], matched, torch.cat([means, cell_queue]), 0.5)
    torch.testing.assert_close(outputs['loss_cell'], 0.25 * expected)
    # the queues hold this batch's keys, and the oldest of the others
    torch.testing.assert_close(model.image_queue[:3], key)
    torch.testing.assert_close(model.cell_queue[:3], means)
    assert model.image_queue[3:].equal(image_queue[3:])


def test_the_queue_goes_round():
    model = make(queue_length=5, dense_weight=0)
    seen = []
    for _ in range(3):
        inputs = views(3)
        losses_of(model, inputs)
        with torch.no_grad():
            seen.append(keys_of(model, inputs[:, 1]))
    # at places 0-2, 3-0, 1-3
    expected = torch.stack([seen[1][2], *seen[2], seen[1][1]])
    torch.testing.assert_close(model.image_queue, expected)
    losses_of(model, views(7))
    assert not model.image_queue.eq(expected).any()


def test_the_momentum_encoder_begins_as_a_copy_and_follows_slowly():
    model = make(momentum=0.75)
    # as loaded weights do
    torch.nn.init.constant_(model.backbone.conv1.weight, 1.0)
    keys = model.momentum_encoder.module[0].conv1.weight
    losses_of(model, views())
    assert keys.eq(1).all()
    torch.nn.init.constant_(model.backbone.conv1.weight, 2.0)
    losses_of(model, views())
    torch.testing.assert_close(keys, torch.full_like(keys, 1.25))


def test_keys_are_normalized_as_queries_are():
    """TimmBackbone leaves the BN of weights without gradient in eval mode."""
    pytest.importorskip('timm')
    backbone = dict(type='TimmBackbone', model_name='resnet10t', out_indices=(4,))
    model = DenseCL(backbone, NORMALIZE, queue_length=12).train()
    inputs = views(4)
    inputs[:, 1] = inputs[:, 0]
    queries = model(inputs[:, 0])
    losses_of(model, inputs)
    torch.testing.assert_close(model.image_queue[:4], queries)
    assert not any(module.training for module in model.eval().modules())


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_bn_learns_its_statistics(norm):
    model = make(norm)
    before = model.backbone.bn1.running_mean.clone()
    losses_of(model, views(4))
    assert not model.backbone.bn1.running_mean.equal(before)


def test_tensor_mode_gives_embeddings_of_length_1():
    model = make().eval()
    embeddings = model(torch.rand(4, 3, 64, 64))
    assert embeddings.shape == (4, 8)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))


def test_views_are_normalized_as_the_detectors_images():
    model = make()
    batch = dict(inputs=torch.full((2, 2, 3, 8, 8), 200, dtype=torch.uint8))
    out = model.data_preprocessor(batch, True)['inputs']
    assert out.shape == (2, 2, 3, 8, 8)
    assert out.eq(2.0).all()


def test_a_dense_weight_of_1_is_refused():
    with pytest.raises(InputError, match=r'model.dense_weight=1: give 0 \(MoCo v2\) to below 1'):
        make(dense_weight=1)

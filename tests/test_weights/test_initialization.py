import hashlib

import pytest

from mmscratch.weights.initialization import describe, initialization, kind_of, link, trained_on

DETECTOR = ['backbone.conv1.weight', 'rpn_head.rpn_conv.weight']
BACKBONE = ['backbone.conv1.weight']


def proof(train: str = 'a', subset: str | None = None, **entries) -> dict:
    files = [dict(split='train', sha256=train), dict(split='val', sha256='v')]
    return dict(init='random', annotations=files, subset=subset and dict(sha256=subset), **entries)


@pytest.mark.parametrize(
    ('source', 'names', 'held', 'kind'),
    [
        ('open-mmlab://detectron/resnet50_gn', BACKBONE, {}, 'imagenet'),
        ('package://efficientnet/b0.pth', BACKBONE, {}, 'imagenet'),
        ('mine.pth', BACKBONE, {}, 'classifier'),
        # VGG's hidden layers are the box head's
        ('vgg.pth', [*BACKBONE, 'roi_head.bbox_head.shared_fcs.0.weight'], {}, 'classifier'),
        ('backbone.pth', BACKBONE, proof(pretraining={}), 'own'),
        ('zoo.pth', DETECTOR, {}, 'detector'),
        ('iter_9.pth', DETECTOR, proof(), 'direct'),
        ('iter_9.pth', DETECTOR, proof('b'), 'detector'),
        ('iter_9.pth', DETECTOR, proof(subset='s'), 'detector'),
    ],
)
def test_kinds(source, names, held, kind):
    assert kind_of(source, names, held, trained_on(proof())) == kind


def test_a_link_has_the_files_checksum_and_what_it_has_seen(tmp_path):
    file = tmp_path / 'iter_9.pth'
    file.write_bytes(b'weights')
    meta = dict(images_seen=72, pixels_seen=500, preflight=proof())
    assert link('detector', str(file), file, meta) == dict(
        kind='detector',
        file='iter_9.pth',
        sha256=hashlib.sha256(b'weights').hexdigest(),
        images_seen=72,
        pixels_seen=500,
        pixels_before=None,  # as an older proof does not tell
    )
    began = initialization(None, False, None)
    own = proof(pretraining=dict(images_seen=3, pixels_seen=30), initialization=began)
    found = link('own', 'x/backbone.pth', None, dict(preflight=own))
    assert (found['sha256'], found['images_seen'], found['pixels_seen']) == (None, 3, 30)
    assert found['pixels_before'] == 0
    published = link('imagenet', 'torchvision://resnet50', None, {})
    assert published['file'] == 'resnet50'
    assert published['pixels_seen'] is published['pixels_before'] is None


def links(**counts) -> dict:
    base = dict(file='x.pth', sha256=None, images_seen=1, pixels_seen=30, pixels_before=4)
    return base | counts


@pytest.mark.parametrize(
    ('weights', 'frozen', 'teacher', 'arm', 'pixels'),
    [
        (None, False, None, 'scratch', 0),
        (links(kind='imagenet', pixels_seen=None), False, None, 'imagenet', None),
        (links(kind='direct'), False, None, 'direct', 34),
        (links(kind='own'), True, None, 'frozen', 34),
        (None, False, links(kind='teacher'), 'self-training', 34),
        (links(kind='own'), False, links(kind='teacher', pixels_before=0), 'self-training', 64),
    ],
)
def test_arms_and_their_pixels(weights, frozen, teacher, arm, pixels):
    began = initialization(weights, frozen, teacher)
    assert (began['arm'], began['frozen'], began['pixels_before']) == (arm, frozen, pixels)


def test_the_chain_in_words():
    scratch = proof(initialization=initialization(None, False, None))
    low = dict(links(kind='direct', file='low.pth', images_seen=1500, pixels_seen=64_000_000))
    high = proof(
        parent=dict(scratch, resolution_factor=0.5), initialization=initialization(low, False, None)
    )
    assert describe(scratch) == 'from random weights'
    assert describe(high) == (
        'from low.pth, a detector trained on the same images at 0.5 of their size (1,500 images, '
        '64,000,000 pixels), which began from random weights'
    )
    teacher = links(kind='teacher', images_seen=None, pixels_seen=None, parent=high)
    student = initialization(None, False, teacher)
    assert describe(proof(initialization=student)) == (
        'from random weights; pseudo labels by x.pth, a detector (images seen unknown), which '
        f'began {describe(high)}'
    )
    assert describe(dict(init='pretrained')) == 'from pretrained weights'

"""What is said without training."""

from mmscratch.study.decide import evidence
from mmscratch.study.decide.evidence import Twins

KNOWN = [
    Twins('boards', 900, 50.0, 40.0, '4x', 'here'),
    Twins('alike', 1200, 26.0, 25.9, '6x', 'there'),
    Twins('far', 100_000, 41.0, 41.0, '6x', 'elsewhere'),
]


def test_near_comparisons_are_listed_with_their_sources():
    lines = evidence.text(1000, 7.0, KNOWN)
    assert 'pre-train (its limit' in lines[0]
    assert lines[1].startswith(
        'In 1 of 2 comparisons with 250 to 4,000 images ImageNet is ahead by'
    )
    assert lines[2:] == [
        '- boards, 900 images: 50.0 AP from ImageNet, 40.0 from scratch (4x; here)',
        '- alike, 1,200 images: 26.0 AP from ImageNet, 25.9 from scratch (6x; there)',
    ]


def test_few_objects_an_image_speak_for_pretraining():
    many, few = (' '.join(evidence.text(15_000, objects, KNOWN)) for objects in (7.0, 1.4))
    assert 'train from scratch, and longer' in many
    assert 'But an image has 1.4 objects' in few
    assert 'PASCAL VOC' not in many


def test_nothing_near_is_said():
    assert evidence.text(10, 7.0, KNOWN)[-1] == 'Nothing was measured with 2 to 40 images.'

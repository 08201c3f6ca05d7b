"""The verdict on made curves of AP."""

import math
import random

import pytest

from mmscratch.evaluation.learning_state import learning_state, train_name


def state(ap, train_ap=None):
    return learning_state([100 * i for i in range(1, len(ap) + 1)], ap, train_ap)


RISES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
FALLS = [0.1, 0.3, 0.5, 0.5, 0.5, 0.42, 0.4, 0.38]


@pytest.mark.parametrize(
    ('ap', 'train_ap', 'verdict'),
    [
        ([0.1] * 4, None, 'too early to tell: 4 of 5 validations'),
        (RISES, None, 'still learning: AP rose by 10.0 in the last 100 iterations'),
        ([0.1, 0.3, *[0.5] * 6], None, 'plateau since iteration 400: AP changes by no more than'),
        (FALLS, None, 'falling since iteration 400: AP fell by 10.0; TrainApHook tells'),
        (
            FALLS,
            [*RISES, 0.7, 0.8],
            'overfitting since iteration 400: AP fell by 10.0, on training',
        ),
        # it cannot rise any more
        (
            FALLS,
            [1.0] * 8,
            'overfitting since iteration 400: AP fell by 10.0, on training images it',
        ),
        (
            FALLS,
            FALLS,
            'falling since iteration 400, on training images too: AP fell by 10.0; lower',
        ),
        # less than half a point of AP
        ([0.500, 0.501, 0.502, 0.503, 0.504], None, 'plateau since iteration 200'),
    ],
)
def test_the_rule(ap, train_ap, verdict):
    assert state(ap, train_ap).startswith(verdict)


def test_the_first_and_last_iterations_are_those_of_the_validations():
    assert learning_state([7, 20, 30, 90, 100, 110], RISES).endswith('in the last 10 iterations')


@pytest.mark.parametrize('noise', [0.002, 0.01])
@pytest.mark.parametrize('length', [12, 30])
def test_noise_changes_few_verdicts(noise, length):
    """Of 100 noisy curves, nine of ten are told as the curve without noise."""
    numbers = random.Random(0)
    shares = [i / length for i in range(1, length + 1)]

    def told(curve, train=None):
        def noisy(values):
            return [value + numbers.gauss(0, noise) for value in values]

        return [state(noisy(curve), train and noisy(train)).split()[0] for _ in range(100)]

    rising = [0.5 * (1 - math.exp(-2 * share)) for share in shares]
    flat = [0.5 * (1 - math.exp(-8 * share)) for share in shares]
    falling = [ap - 0.2 * max(0, share - 0.5) for ap, share in zip(flat, shares)]
    assert told(rising).count('still') >= 90
    assert told(flat).count('plateau') >= 90
    assert told(falling, flat).count('overfitting') >= 90
    assert told(falling, falling).count('falling') >= 90


def test_names():
    assert train_name('coco/bbox_mAP') == 'train_bbox_mAP'
    assert train_name('pascal_voc/mAP') == 'train_voc_mAP'

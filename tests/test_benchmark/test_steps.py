"""The table of training steps on a GPU."""

from mmscratch.benchmark import steps


def test_speeds_have_ratios_to_those_of_peers_in_the_same_format():
    measured = {
        'mmscratch bf16': dict(batch=2, images_per_second=[30, 20, 40], memory_mb=900),
        'mmdetection bf16': dict(batch=2, images_per_second=[], error='RuntimeError'),
        'torchvision bf16': dict(batch=2, images_per_second=[20, 26]),
        'torchvision': dict(batch=2, images_per_second=[50]),
    }
    assert steps.rows(dict(steps=measured))[1:] == [
        ['mmscratch bf16', '30.0', '20.0', '40.0', '-', '1.30', '900'],
        ['mmdetection bf16', 'failed', '-', '-', '-', '-', '-'],
        ['torchvision bf16', '23.0', '20.0', '26.0', '-', '1.00', '-'],
        ['torchvision', '50.0', '50.0', '50.0', '-', '1.00', '-'],
    ]

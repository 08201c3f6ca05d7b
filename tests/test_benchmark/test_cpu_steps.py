from mmscratch.benchmark import cpu_steps
from mmscratch.data.shapes.drawing import ShapesConfig, generate


def test_each_variant_steps_on_a_quiet_and_on_a_busy_machine(tmp_path):
    generate(tmp_path, ShapesConfig(size=80, classes=3), dict(train=8, val=1), progress=False)
    numbers = {}
    for numbers in cpu_steps.measure(tmp_path, tiny=True):
        pass
    assert list(numbers) == list(cpu_steps.TINY)
    for own in numbers.values():
        assert [len(own[machine]) for machine in ('quiet', 'busy')] == [1, 1]
        assert min(own['quiet'] + own['busy']) > 0


def test_a_process_that_ends_is_a_failed_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_steps, 'VARIANTS', {'before': cpu_steps.Variant()})
    # there are no images
    [numbers] = cpu_steps.measure(tmp_path, tiny=False, rounds=1)
    assert numbers == {'before': {'error': 'the process ended'}}
    assert cpu_steps.rows(numbers)[1] == ['before', 'failed', '-', 'failed', '-']


def test_ratios_are_those_of_rounds():
    numbers = {
        'before': dict(quiet=[1.0, 2.0, 4.0], busy=[3.0, 3.0, 3.0]),
        'faster': dict(quiet=[0.5, 0.5, 4.0], busy=[1.0, 2.0, 1.5]),
    }
    assert cpu_steps.rows(numbers)[2] == [
        'faster',
        '0.500 (0.500 to 4.000)',
        '2.00 (1.00 to 4.00)',
        '1.500 (1.000 to 2.000)',
        '2.00 (1.50 to 3.00)',
    ]

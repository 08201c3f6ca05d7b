import shutil

from mmscratch.benchmark import cpu_steps


def test_each_variant_steps_on_a_quiet_and_on_a_busy_machine(tmp_path):
    [numbers] = cpu_steps.measure(tmp_path, tiny=True)
    assert list(numbers['variants']) == list(cpu_steps.TINY)
    for own in numbers['variants'].values():
        assert [len(own[machine]) for machine in ('quiet', 'busy')] == [1, 1]
        assert min(own['quiet'] + own['busy']) > 0


def test_a_process_that_ends_is_a_failed_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_steps, 'VARIANTS', {'before': cpu_steps.CpuVariant()})
    monkeypatch.setattr(cpu_steps.sys, 'executable', shutil.which('false'))
    [numbers] = cpu_steps.measure(tmp_path, tiny=False, rounds=1)
    assert numbers == dict(variants={'before': {'error': 'the process ended'}})
    assert cpu_steps.rows(numbers)[1] == ['before', 'failed', '-', 'failed', '-']


def test_ratios_are_those_of_rounds():
    variants = {
        'before': dict(quiet=[1.0, 2.0, 4.0], busy=[3.0, 3.0, 3.0]),
        'faster': dict(quiet=[0.5, 0.5, 4.0], busy=[1.0, 2.0, 1.5]),
    }
    assert cpu_steps.rows(dict(variants=variants))[2] == [
        'faster',
        '0.500 (0.500 to 4.000)',
        '2.00 (1.00 to 4.00)',
        '1.500 (1.000 to 2.000)',
        '2.00 (1.50 to 3.00)',
    ]

import pytest
import torch

from mmscratch.errors import InputError
from mmscratch.weights.resumption import newest_whole


@pytest.fixture
def run(tmp_path):
    """A folder of two checkpoints, of which the last is the newest."""
    for number in (2, 10):
        torch.save(dict(state_dict={}, meta=dict(iter=number)), tmp_path / f'iter_{number}.pth')
    (tmp_path / 'best_n_iter_12.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    return tmp_path


def test_what_last_checkpoint_names_is_taken_without_a_word(run):
    assert newest_whole(run) == (run / 'iter_10.pth', '')
    (run / 'last_checkpoint').write_text('iter_2.pth')
    assert newest_whole(run) == (run / 'iter_2.pth', '')


@pytest.mark.parametrize('content', [b'', b'\xff\x00/..\x00', b'iter_4.pth', None])
def test_without_a_name_the_newest_is_taken_and_told(run, content):
    (run / 'last_checkpoint').unlink()
    if content is not None:
        (run / 'last_checkpoint').write_bytes(content)
    file, told = newest_whole(run)
    assert file == run / 'iter_10.pth'
    assert told.endswith(': going on from iter_10.pth')
    assert '\n' not in told


@pytest.mark.parametrize('keep', [0, 0.5, 0.99])
def test_a_damaged_one_is_passed_over_and_told(run, keep):
    content = (run / 'iter_10.pth').read_bytes()
    (run / 'iter_10.pth').write_bytes(content[: int(keep * len(content))])
    file, told = newest_whole(run)
    assert file == run / 'iter_2.pth'
    assert told.startswith(f'{run}/iter_10.pth: is damaged')
    assert told.endswith('going on from iter_2.pth')
    (run / 'iter_2.pth').write_bytes(b'')
    with pytest.raises(InputError, match=rf'^{run}: none of its .*iter_2\.pth: is damaged.*anew'):
        newest_whole(run)


def test_an_empty_folder_has_none(tmp_path):
    assert newest_whole(tmp_path) == (None, '')
    assert newest_whole(tmp_path / 'absent') == (None, '')

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmscratch.config.work_dir import (
    checkpoint_folder,
    claim,
    default_work_dir,
    last_checkpoint,
    locked,
    require_writable,
    saved_checkpoints,
    write,
)
from mmscratch.errors import InputError


@pytest.mark.parametrize(
    ('config', 'data', 'folder'),
    [
        ('configs/scratch/a_6x.py', None, 'work_dirs/scratch/a_6x'),
        ('configs/pretrained/a_6x.py', None, 'work_dirs/pretrained/a_6x'),
        ('/some/where/mine.py', None, 'work_dirs/mine'),
        ('configs/scratch/a_6x.py', '/data/cells', 'work_dirs/scratch/a_6x_cells'),
    ],
)
def test_work_dir_mirrors_the_config(config, data, folder):
    assert default_work_dir(Path(config), Path(data) if data else None) == Path(folder)


def test_default_work_dir_tells_how_the_run_began():
    config = Path('configs/scratch/a.py')
    folder = default_work_dir(config, Path('my/photos'), 'x/iter_9.pth', frozen=True, scale=0.5)
    assert folder == Path('work_dirs/scratch/a_photos_iter_9_frozen_x0.5')
    assert default_work_dir(config, None, scale=1.0) == Path('work_dirs/scratch/a_x1')


def test_an_empty_or_missing_folder_is_free(tmp_path):
    claim(tmp_path, Path('a.py'), resume=None)
    claim(tmp_path / 'new', Path('a.py'), resume=None)


@pytest.mark.parametrize(
    ('trace', 'cure'),
    [('iter_200.pth', '--resume'), ('metrics.json', 'before its first save: remove it')],
)
def test_a_run_is_not_written_over(tmp_path, trace, cure):
    (tmp_path / trace).touch()
    with pytest.raises(InputError, match=rf'{trace}.*{cure}'):
        claim(tmp_path, Path('a.py'), resume=None)
    claim(tmp_path, Path('a.py'), resume=str(tmp_path / 'iter_200.pth'))


def test_a_run_is_resumed_where_it_was_or_not_at_all(tmp_path):
    with pytest.raises(InputError, match='holds no run to go on with: correct --work-dir'):
        claim(tmp_path / 'typo', Path('a.py'), resume='latest')
    (tmp_path / 'metrics.json').touch()
    with pytest.raises(InputError, match=r'metrics\.json.*no checkpoint.*--resume CHECKPOINT'):
        claim(tmp_path, Path('a.py'), resume='latest')
    (tmp_path / 'iter_200.pth').touch()
    claim(tmp_path, Path('a.py'), resume='latest')


def test_a_named_checkpoint_may_begin_a_folder(tmp_path):
    claim(tmp_path / 'new', Path('a.py'), resume='elsewhere/iter_200.pth')


def test_what_ended_before_its_first_checkpoint_may_begin_anew(tmp_path):
    left = ['best_coco_bbox_mAP_iter_2.pth', 'metrics.json']
    for name in left:
        (tmp_path / name).write_text(name)
    told = claim(tmp_path, Path('a.py'), resume=None, anew=True)
    assert told.endswith(f'begins anew, and leaves {left[0]}.old, {left[1]}.old')
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f'{name}.old': name for name in left
    }
    assert claim(tmp_path, Path('a.py'), resume=None, anew=True) == ''
    (tmp_path / 'iter_200.pth').touch()
    with pytest.raises(InputError, match=r'iter_200\.pth.*--resume'):
        claim(tmp_path, Path('a.py'), resume=None, anew=True)


def test_another_configs_run_is_not_resumed(tmp_path):
    (tmp_path / 'a.py').touch()
    (tmp_path / 'iter_200.pth').touch()
    claim(tmp_path, Path('configs/a.py'), resume='latest')
    with pytest.raises(InputError, match=r'run of a\.py, not of b\.py'):
        claim(tmp_path, Path('configs/b.py'), resume='latest')


def test_a_file_is_no_work_dir(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file'), locked(tmp_path / 'file'):
        pass


def test_the_last_checkpoint_is_the_folders_own(tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    assert last_checkpoint(run) is None
    (run / 'last_checkpoint').write_text('/elsewhere/run/iter_200.pth\n')
    assert last_checkpoint(run) == run / 'iter_200.pth'
    # where CheckpointHook saves with out_dir
    assert last_checkpoint(run, str(tmp_path / 'out')) == tmp_path / 'out/run/iter_200.pth'
    (run / 'last_checkpoint').write_bytes(b'\xff\x00/..')
    assert last_checkpoint(run).parent == run


def test_a_run_is_not_written_over_by_one_that_goes_on_from_elsewhere(tmp_path):
    run, other = tmp_path / 'run', tmp_path / 'other/iter_2.pth'
    run.mkdir()
    (run / 'metrics.json').touch()
    (run / 'best_coco_bbox_mAP_iter_2.pth').touch()
    # not yet saved: begun so, and stopped
    claim(run, Path('a.py'), resume=str(other))
    (run / 'iter_4.pth').touch()
    with pytest.raises(InputError, match=r'iter_4\.pth.*would overwrite: .*--resume alone'):
        claim(run, Path('a.py'), resume=str(other))
    claim(run, Path('a.py'), resume=f'{run}/./iter_4.pth')


def test_runs_of_one_name_do_not_share_an_out_dir(tmp_path):
    out = tmp_path / 'out'
    claim(tmp_path / 'x/run', Path('a.py'), None, str(out))
    (out / 'run').mkdir(parents=True)
    (out / 'run/iter_4.pth').touch()
    with pytest.raises(InputError, match=r'out/run already holds a run'):
        claim(tmp_path / 'y/run', Path('a.py'), None, str(out))


def test_checkpoints_are_where_mmengine_saves_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_folder(Path('run'), 'out') == Path('out/run')
    assert checkpoint_folder(Path('.'), 'out') == Path('out') / tmp_path.name
    assert checkpoint_folder(Path('run')) == Path('run')
    assert checkpoint_folder(Path('run'), str(tmp_path / 'run')) == Path('run')


@pytest.mark.parametrize('link', [os.symlink, os.link])
def test_a_folder_of_links_becomes_one_of_copies(tmp_path, link):
    """MMEngine writes checkpoints and configs through links, into the other run's files."""
    a, b = tmp_path / 'A', tmp_path / 'B'
    names = ['iter_2.pth', 'best_x_iter_2.pth', 'last_checkpoint', 'a.py', 'pictures/1.png']
    for name in names:
        for folder in (a, b):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (a / name).write_text(name)
        link(a / name, b / name)
    link(a / 'iter_2.pth', b / 'notes.txt')
    claim(b, Path('a.py'), resume='latest')
    for name in names:
        assert (b / name).read_text() == name
        assert not (b / name).is_symlink()
        assert not (b / name).samefile(a / name)
    assert (b / 'notes.txt').samefile(a / 'iter_2.pth')


def test_the_newest_checkpoint_is_that_of_the_highest_iteration(tmp_path):
    for name in ('iter_900.pth', 'iter_1000.pth', 'best_x_iter_2000.pth', 'backbone.pth'):
        (tmp_path / name).touch()
    assert [file.name for file in saved_checkpoints(tmp_path)] == ['iter_1000.pth', 'iter_900.pth']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch, step):
    file = tmp_path / 'iter_2.pth'
    write(file, b'old')

    def full(*args):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os if step == 'fsync' else Path, step, full)
        with pytest.raises(InputError, match=rf'^{file}: .*No space left.*needs 3 MiB.*--resume$'):
            write(file, bytes(3 << 20))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'old']
    write(file, b'new')
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'new']


def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(InputError, match=r'No such file or directory.*see to the folder'):
        write(tmp_path / 'gone/iter_2.pth', b'new')
    assert not list(tmp_path.iterdir())


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    """Until the first has ended; what it was writing is removed then."""
    folder = tmp_path / 'run'
    script = (
        'import sys, pathlib; from mmscratch.config.work_dir import locked\n'
        f'with locked(pathlib.Path({str(folder)!r})): print("locked", flush=True); sys.stdin.read()'
    )
    first = subprocess.Popen(
        [sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout.readline() == b'locked\n'
    for name in ('iter_2.pth.tmp', 'iter_1.pth'):
        (folder / name).touch()
    told = pytest.raises(InputError, match=f'{folder}: a run is in this folder right now')
    with told, locked(folder):
        pass
    assert (folder / 'iter_2.pth.tmp').exists()
    first.communicate()
    with locked(folder):
        assert {path.name for path in folder.iterdir()} == {'lock', 'iter_1.pth'}
    assert (folder / 'lock').exists()


def test_a_refused_run_leaves_no_folder(tmp_path):
    for name in ('run', 'run', 'other'):
        with contextlib.suppress(InputError), locked(tmp_path / name, str(tmp_path / 'out')):
            assert (tmp_path / name / 'lock').exists()
            assert (tmp_path / 'out' / name / 'lock').exists()
            raise InputError('no data')
        assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def flock(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr('fcntl.flock', flock)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/iter_2.pth.tmp').touch()
    with locked(tmp_path / 'run'):
        # another run may be writing it
        assert (tmp_path / 'run/iter_2.pth.tmp').exists()
    assert capsys.readouterr().err == (
        f'warning: {tmp_path}/run/lock: cannot be locked (No locks available): see to it that '
        'nothing else is started in this folder\n'
    )


def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path):
    require_writable(tmp_path / 'new/run', '--work-dir')
    assert not list(tmp_path.iterdir())
    # as on a read-only disk
    told = pytest.raises(
        InputError, match=r'^/proc/run: nothing can be written there \(.*--work-dir$'
    )
    with told, locked(Path('/proc/run')):
        pass

import os
from pathlib import Path

import pytest

from mmscratch.config.work_dir import checkpoint_folder, claim, default_work_dir, last_checkpoint
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


@pytest.mark.parametrize('trace', ['iter_200.pth', 'metrics.json'])
def test_a_run_is_not_written_over(tmp_path, trace):
    (tmp_path / trace).touch()
    with pytest.raises(InputError, match=rf'{trace}.*--resume'):
        claim(tmp_path, Path('a.py'), resume=None)
    claim(tmp_path, Path('a.py'), resume=str(tmp_path / 'iter_200.pth'))


@pytest.mark.parametrize('trace', ['iter_200.pth', 'metrics.json'])
def test_a_run_is_resumed_where_it_was_or_not_at_all(tmp_path, trace):
    with pytest.raises(InputError, match='holds no run to go on with: correct --work-dir'):
        claim(tmp_path / 'typo', Path('a.py'), resume='latest')
    (tmp_path / trace).touch()
    with pytest.raises(InputError, match=rf'{trace}.*no last_checkpoint.*--resume CHECKPOINT'):
        claim(tmp_path, Path('a.py'), resume='latest')
    (tmp_path / 'last_checkpoint').touch()
    claim(tmp_path, Path('a.py'), resume='latest')


def test_a_named_checkpoint_may_begin_a_folder(tmp_path):
    claim(tmp_path / 'new', Path('a.py'), resume='elsewhere/iter_200.pth')


def test_another_configs_run_is_not_resumed(tmp_path):
    (tmp_path / 'a.py').touch()
    (tmp_path / 'last_checkpoint').touch()
    claim(tmp_path, Path('configs/a.py'), resume='latest')
    with pytest.raises(InputError, match=r'run of a\.py, not of b\.py'):
        claim(tmp_path, Path('configs/b.py'), resume='latest')


def test_a_file_is_no_work_dir(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='is a file'):
        claim(tmp_path / 'file', Path('a.py'), resume=None)


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

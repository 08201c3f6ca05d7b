"""What a resumed run believes of the paths in its checkpoint."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook

from mmscratch.hooks.own_folder_hook import OwnFolderHook

BEST = 'best_coco_bbox_mAP_iter_4.pth'


def state(**runtime) -> dict:
    return dict(message_hub=dict(runtime_info=dict(best_score=0.5, iter=6, **runtime)))


def resume(work_dir: Path, file: Path | None, checkpoint: dict, **checkpoint_hook) -> dict:
    """The run's state as MMEngine reads it after the hook."""
    hooks = [CheckpointHook(interval=1, **checkpoint_hook)]
    runner = SimpleNamespace(
        _resume=True, _load_from=file and str(file), work_dir=str(work_dir), hooks=hooks
    )
    OwnFolderHook().after_load_checkpoint(runner, checkpoint)
    return checkpoint['message_hub']['runtime_info']


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Two runs with a best checkpoint of the same name."""
    for name in 'AB':
        (tmp_path / name).mkdir()
        (tmp_path / name / BEST).touch()
    return tmp_path / 'A', tmp_path / 'B'


def test_the_own_best_stays(folders):
    a, _ = folders
    kept = resume(a, a / 'iter_6.pth', state(best_ckpt=str(a / BEST), keep_ckpt_ids=[4, 6]))
    assert kept == dict(best_score=0.5, iter=6, best_ckpt=str(a / BEST), keep_ckpt_ids=[4, 6])


def test_a_moved_folder_has_its_best(folders, tmp_path):
    a, b = folders
    kept = resume(b, b / 'iter_6.pth', state(best_ckpt=str(a / BEST), keep_ckpt_ids=[4, 6]))
    assert kept['best_ckpt'] == str(b / BEST)
    assert kept['best_score'] == 0.5


def test_another_runs_best_is_left_alone(folders):
    a, b = folders
    kept = resume(b, a / 'iter_6.pth', state(best_ckpt=str(a / BEST), keep_ckpt_ids=[4, 6]))
    assert kept == dict(iter=6)


def test_each_of_several_bests_is_judged(folders):
    a, _ = folders
    checkpoint = state(
        **{
            'best_ckpt_coco/bbox_mAP': str(a / BEST),
            'best_score_coco/bbox_mAP': 0.5,
            'best_ckpt_coco/segm_mAP': '/elsewhere/best_segm.pth',
            'best_score_coco/segm_mAP': 0.4,
        }
    )
    kept = resume(a, a / 'iter_6.pth', checkpoint)
    assert kept['best_ckpt_coco/bbox_mAP'] == str(a / BEST)
    assert kept['best_score_coco/bbox_mAP'] == 0.5
    assert 'best_ckpt_coco/segm_mAP' not in kept
    assert 'best_score_coco/segm_mAP' not in kept


@pytest.mark.parametrize('path', ['/etc', '..', '.', '', '/etc/passwd', 'iter_6.pth', 5, None, []])
def test_what_is_no_best_checkpoint_is_never_deleted(folders, path):
    a, _ = folders
    (a / 'iter_6.pth').touch()
    kept = resume(a, a / 'iter_6.pth', state(best_ckpt=path, keep_ckpt_ids=['../x', 4, True]))
    assert kept == dict(iter=6, keep_ckpt_ids=[4])


def test_checkpoints_may_go_to_another_folder(folders, tmp_path):
    """CheckpointHook(out_dir=...) saves below it, in a folder of the work directory's name."""
    a, _ = folders
    out = tmp_path / 'out' / 'A'
    out.mkdir(parents=True)
    (out / BEST).touch()
    kept = resume(
        a, out / 'iter_6.pth', state(best_ckpt=f'x/{BEST}'), out_dir=str(tmp_path / 'out')
    )
    assert kept['best_ckpt'] == str(out / BEST)


def test_weights_that_only_begin_a_run_are_left_alone(folders):
    a, _ = folders
    checkpoint = state(best_ckpt='/elsewhere')
    runner = SimpleNamespace(_resume=False, _load_from=str(a / BEST), work_dir=str(a), hooks=[])
    OwnFolderHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint == state(best_ckpt='/elsewhere')


@pytest.mark.parametrize('checkpoint', [{}, dict(message_hub=None), dict(message_hub={})])
def test_a_checkpoint_without_state_is_not_this_hooks_matter(folders, checkpoint):
    a, _ = folders
    runner = SimpleNamespace(_resume=True, _load_from=None, work_dir=str(a), hooks=[])
    OwnFolderHook().after_load_checkpoint(runner, checkpoint)

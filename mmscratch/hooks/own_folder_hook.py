"""A resumed run that deletes nothing but its own checkpoints."""

from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmscratch.config.work_dir import checkpoint_folder


class OwnFolderHook(Hook):
    """Keep ``CheckpointHook`` to the run's own folder, whatever a checkpoint says of paths.

    A checkpoint holds the path of its run's best checkpoint, and ``CheckpointHook`` deletes that
    file, or folder, at the next better validation. But the run may have been moved or copied, it
    may go on from another run's checkpoint, and the checkpoint may be a stranger's. Here, before
    MMEngine reads them,

    - a best checkpoint becomes the file of that name in the run's own folder, if the run is resumed
      from a checkpoint in this folder and the file is there; else the run starts a best of its own
    - numbers of checkpoints to be deleted later are kept under the same condition

    ``tools/train.py`` adds it to every run.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Correct the message hub's state in ``checkpoint`` of a run that is resumed."""
        if not runner._resume:
            return
        folder = _checkpoint_folder(runner)
        is_own = Path(runner._load_from or '').resolve().parent == folder.resolve()
        runtime = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
        for key in [key for key in runtime if key.startswith('best_ckpt')]:
            name = Path(str(runtime[key])).name
            if is_own and name.startswith('best_') and (folder / name).is_file():
                runtime[key] = str(folder / name)
            else:
                del runtime[key]
                runtime.pop(key.replace('best_ckpt', 'best_score', 1), None)
        kept = runtime.pop('keep_ckpt_ids', [])
        if is_own:
            runtime['keep_ckpt_ids'] = [number for number in kept if type(number) is int]


def _checkpoint_folder(runner: Runner) -> Path:
    """Where the run saves; ``CheckpointHook`` joins these parts only when training begins."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            return checkpoint_folder(Path(runner.work_dir), hook.out_dir)
    return Path(runner.work_dir)

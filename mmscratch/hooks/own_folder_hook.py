"""Keep a resumed run from deleting files of other folders."""

from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmscratch.config.work_dir import checkpoint_folder


class OwnFolderHook(Hook):
    """Restrict ``CheckpointHook`` to the checkpoints in the run's own folder.

    A checkpoint contains the path of its run's best checkpoint. ``CheckpointHook`` deletes that
    file or folder when a later validation is better. But the run may have been moved or copied, the
    checkpoint may be of another run, or it may come from anyone. So this hook corrects the paths
    before MMEngine reads them:

    - The best checkpoint becomes the file of that name in the run's own folder, if the run resumes
      a checkpoint of this folder and the file exists. Else the run starts without a best one.
    - The numbers of checkpoints to delete later are kept under the same condition.

    ``tools/train.py`` adds the hook to every run.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Correct the message hub's state in the ``checkpoint`` of a resumed run."""
        if not runner._resume:
            return
        # MMEngine sets the hook's folder only when training begins
        out_dirs = [hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        folder = checkpoint_folder(Path(runner.work_dir), *out_dirs[:1])
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

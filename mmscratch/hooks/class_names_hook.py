"""Refuse to test on other class names than those of training."""

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmscratch.data.annotation_file import (
    class_faults,
    few,
    files_of,
    first_difference,
    inner_datasets,
)
from mmscratch.errors import InputError
from mmscratch.hooks.preflight_hook import PreflightHook
from mmscratch.loops.runner_state import bare_model


class ClassNamesHook(Hook):
    """Raise :class:`InputError` if the class names of test data and checkpoint differ.

    ``tools/test.py`` adds the hook. Labels are numbers, so a checkpoint runs on any data with the
    same number of classes, and would count detections under wrong names. The hook refuses

    - test data whose classes, or whose order of classes, are not the checkpoint's; a checkpoint
      without class names is accepted
    - if the config has a :class:`PreflightHook`, test data with the faults of its check ``classes``

    These are warnings if the PreflightHook allows ``classes`` to fail.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the names on rank 0; all ranks raise its error together."""
        preflight = next((h for h in runner.hooks if isinstance(h, PreflightHook)), None)
        verdict = [_faults(runner, checkpoint, preflight) if is_main_process() else []]
        broadcast_object_list(verdict)
        faults = verdict[0]
        if preflight and 'classes' in preflight.allow:
            for text in faults:
                runner.logger.warning(f'allowed to fail: [classes] {text}')
        elif faults:
            hint = " (to run anyway: PreflightHook(allow=['classes']))" if preflight else ''
            raise InputError('; '.join(faults) + hint)


def _faults(runner: Runner, checkpoint: dict, preflight: PreflightHook | None) -> list[str]:
    dataset = runner.test_dataloader.dataset
    meta = (checkpoint.get('meta') or {}).get('dataset_meta')
    # if the training data sets differ, meta is a list of all
    trained = list((meta.get('classes') if isinstance(meta, dict) else None) or ())
    faults = []
    for inner in inner_datasets(dataset):
        tested = list(getattr(inner, 'metainfo', {}).get('classes') or ())
        if trained and tested and tested != trained:
            faults.append(
                f'{runner._load_from}: its classes and those of {inner.ann_file} differ: '
                f'{first_difference(trained, tested)}; give the test data the names and the order '
                f'of the training data: {few(trained)}'
            )
    if preflight:
        faults += class_faults(list(files_of('test', dataset)), bare_model(runner))
    return faults

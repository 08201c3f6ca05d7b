"""Refuse to test under other class names than those that were trained."""

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
from mmscratch.hooks.runner_state import bare_model


class ClassNamesHook(Hook):
    """Raise :class:`InputError` if a test would count detections under wrong names.

    ``tools/test.py`` adds it. Labels are numbers, so that a checkpoint runs on any data with as
    many classes. Refused are

    - test data whose classes are not the checkpoint's, or in another order; a checkpoint that does
      not name its classes is taken as it is
    - if the config has a :class:`PreflightHook`: what that refuses of the ``classes`` in training

    Where the PreflightHook allows ``classes`` to fail, these are warnings.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare; all ranks raise together, on rank 0's verdict."""
        preflight = next((h for h in runner.hooks if isinstance(h, PreflightHook)), None)
        verdict = [_faults(runner, checkpoint, preflight) if is_main_process() else None]
        broadcast_object_list(verdict)
        faults = verdict[0]
        if preflight and 'classes' in preflight.allow:
            for text in faults:
                runner.logger.warning(f'allowed to fail: [classes] {text}')
        elif faults:
            hint = " (if it is meant: PreflightHook(allow=['classes']))" if preflight else ''
            raise InputError('; '.join(faults) + hint)


def _faults(runner: Runner, checkpoint: dict, preflight: PreflightHook | None) -> list[str]:
    dataset = runner.test_dataloader.dataset
    faults = _checkpoint_faults(checkpoint, dataset, runner._load_from)
    if preflight:
        faults += class_faults(list(files_of('test', dataset)), bare_model(runner))
    return faults


def _checkpoint_faults(checkpoint: dict, dataset: object, name: str) -> list[str]:
    meta = (checkpoint.get('meta') or {}).get('dataset_meta')
    # a list, one of each data set, where those that were trained on differ
    trained = meta.get('classes') if isinstance(meta, dict) else None
    faults = []
    for inner in inner_datasets(dataset):
        tested = getattr(inner, 'metainfo', {}).get('classes')
        if trained and tested and list(tested) != list(trained):
            faults.append(
                f'{name}: its classes and those of {inner.ann_file} differ: '
                f'{first_difference(list(trained), list(tested))}; give the test data the names '
                f'and the order of the training data: {few(list(trained))}'
            )
    return faults

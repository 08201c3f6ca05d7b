"""Translate the names of loaded weights, and refuse weights that do not fit the model."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from mmscratch.errors import InputError
from mmscratch.loops.runner_state import loaded_file
from mmscratch.weights.matched_weights import CONTAINERS, matched_weights

DETECTRON2_NOTE = (
    'a detectron2 file does not contain PIXEL_MEAN, PIXEL_STD and STRIDE_IN_1X1 of its training: '
    'if they were not the defaults, set model.data_preprocessor.mean and .std, and '
    'model.backbone.style=caffe for a stride in the first 1x1 conv'
)


@HOOKS.register_module()
class WeightsHook(Hook):
    """Match loaded weights to the model, and log how many match.

    MMEngine loads the weights whose names it knows and leaves all others random, possibly every
    one. This hook translates the names of published classifiers and of detectron2's R-CNNs
    (:mod:`mmscratch.weights.weight_names`). It raises :class:`InputError` if

    - training begins with the file, and less than 90 % of the backbone's weights match, or of the
      model's weights but those of other classes if the file is a detector's; or its first
      convolution does not
    - a run is resumed or tested, and a weight is missing or has another shape
    - the file's backbone has more blocks than the model's
    - a run is resumed from a file that contains weights only

    Where the images have other than three channels, the first convolution of colour images is
    adapted (:func:`mmscratch.weights.weight_names.adapted_conv`).

    Args:
        random_first_layer: leave the first convolution random in a run that begins with the file.

    Example:
        >>> custom_hooks = [dict(type='WeightsHook')]
        >>> load_from = 'moco.pth'
    """

    # before InitHook and PreflightHook, which look at the loaded weights
    priority = 'HIGHEST'

    def __init__(self, random_first_layer: bool = False) -> None:
        self.random_first_layer = random_first_layer

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the weights in ``checkpoint`` by those that match, under the model's names."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        file = loaded_file(runner)
        state = {'meta', 'message_hub', 'optimizer'}
        # without the schedulers a resumed run would use the learning rate of its first iteration
        state |= {'param_schedulers'} if runner.param_schedulers else set()
        if runner._resume and not state <= checkpoint.keys():
            raise InputError(
                f'{file}: holds weights, but lacks {", ".join(sorted(state - checkpoint.keys()))}, '
                'as releases and best checkpoints do, and cannot be resumed; resume an iter_N.pth, '
                'or begin a run with these weights by --init'
            )
        begins = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        config = str(runner.cfg.filename)
        matched = matched_weights(
            checkpoint, model, file, config, not begins, begins and self.random_first_layer
        )
        is_detectron2 = matched.scheme == 'detectron2'
        if begins or is_detectron2:
            for key in CONTAINERS:
                checkpoint.pop(key, None)
            checkpoint['state_dict'] = matched.weights
            runner.logger.info(f'{file}: {matched.describe()}')
        if is_detectron2:
            runner.logger.warning(f'{file}: {DETECTRON2_NOTE}')

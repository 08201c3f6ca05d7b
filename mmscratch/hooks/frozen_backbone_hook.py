"""Keep a pre-trained backbone as it is: only neck and heads are trained."""

from types import MethodType

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmscratch.errors import InputError
from mmscratch.hooks.init_hook import pretrained_modules
from mmscratch.loops.runner_state import bare_model


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Freeze the whole backbone at its pre-trained weights (``--freeze`` of ``tools/train.py``).

    No parameter of the backbone is trained, and the backbone stays in eval mode: norm layers use
    the statistics that were loaded with it, dropout and stochastic depth are off. Any class of
    backbone will do.
    Without gradients in the backbone a step is faster and needs less memory.

    Vasconcelos, Birodkar, Dumoulin (CVPR 2022, arXiv 2204.00484) call this knowledge preservation.
    They find that it needs larger necks and heads, such as a cascade's.

    Raises:
        InputError: a weight of the backbone has not been loaded, so that it would stay random.

    Example:
        >>> default_hooks = dict(frozen_backbone=dict(type='FrozenBackboneHook'))
    """

    # after WeightsHook, which gives loaded weights the model's names, and before PreflightHook
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._random: set[str] = set()

    def before_run(self, runner: Runner) -> None:
        """Freeze the backbone, before weights are loaded.

        The optimizer has been built, and leaves out parameters that never have a gradient.
        """
        model = bare_model(runner)
        backbone: nn.Module = model.backbone
        backbone.requires_grad_(False)
        # every loop calls train() of the whole model
        vars(backbone)['train'] = MethodType(_stay_in_eval, backbone)
        self._random = {
            f'backbone.{name}'
            for name in backbone.state_dict()
            # a counter that only momentum=None reads, and older files lack
            if not name.endswith('num_batches_tracked')
        }
        if is_model_wrapper(runner.model):
            # DistributedDataParallel waits for the gradients of all that trained when it was built
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights are loaded."""
        self._random -= checkpoint.get('state_dict', checkpoint).keys()

    def before_train(self, runner: Runner) -> None:
        """Refuse a backbone with random weights."""
        parts = pretrained_modules(bare_model(runner))
        if self._random and not any(name in ('', 'backbone') for name in parts):
            raise InputError(
                f'{runner.cfg.filename}: {len(self._random)} weights of the backbone are random, '
                f'the first is {min(self._random)}, and would stay so: load pre-trained ones with '
                '--init FILE, or leave out --freeze (FrozenBackboneHook)'
            )


def _stay_in_eval(backbone: nn.Module, mode: bool = True) -> nn.Module:
    """Replaces ``train`` of a frozen module."""
    return type(backbone).train(backbone, False)

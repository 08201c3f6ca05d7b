"""Which code stands behind ``mmcv.ops``: the one place that decides.

mmcv-lite comes without ``mmcv._ext``, the compiled module that ``mmcv.ops`` calls. A finder at the
end of ``sys.meta_path`` answers for that name alone. Python asks it last, so a compiled mmcv is
found first and used untouched; only where there is none does torchvision take its place.

Importing this file costs nothing: torch and torchvision are loaded when ``mmcv._ext`` is.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

EXTENSION = 'mmcv._ext'


class ExtensionFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and fills a stand-in for ``mmcv._ext``, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin='mmscratch.ops')

    def exec_module(self, module: ModuleType) -> None:
        from mmscratch.ops.absent_op import absent_op
        from mmscratch.ops.carafe import carafe_backward, carafe_forward
        from mmscratch.ops.deform_conv import (
            deform_conv_backward_input,
            deform_conv_backward_parameters,
            deform_conv_forward,
            modulated_deform_conv_backward,
            modulated_deform_conv_forward,
        )
        from mmscratch.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
        from mmscratch.ops.ms_deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
        from mmscratch.ops.nms import nms
        from mmscratch.ops.nms_match import nms_match
        from mmscratch.ops.roi_align import roi_align_backward, roi_align_forward
        from mmscratch.ops.roi_pool import roi_pool_backward, roi_pool_forward
        from mmscratch.ops.sigmoid_focal_loss import (
            sigmoid_focal_loss_backward,
            sigmoid_focal_loss_forward,
        )
        from mmscratch.ops.soft_nms import softnms
        from mmscratch.ops.softmax_focal_loss import (
            softmax_focal_loss_backward,
            softmax_focal_loss_forward,
        )

        ops = (
            nms,
            softnms,
            nms_match,
            roi_align_forward,
            roi_align_backward,
            roi_pool_forward,
            roi_pool_backward,
            sigmoid_focal_loss_forward,
            sigmoid_focal_loss_backward,
            softmax_focal_loss_forward,
            softmax_focal_loss_backward,
            deform_conv_forward,
            deform_conv_backward_input,
            deform_conv_backward_parameters,
            modulated_deform_conv_forward,
            modulated_deform_conv_backward,
            carafe_forward,
            carafe_backward,
            masked_im2col_forward,
            masked_col2im_forward,
            ms_deform_attn_forward,
            ms_deform_attn_backward,
            get_compiler_version,
            get_compiling_cuda_version,
        )
        vars(module).update({op.__name__: op for op in ops}, __getattr__=absent_op)


def get_compiler_version() -> str:
    """What ``mmcv.utils.collect_env`` prints: nothing was compiled."""
    return 'n/a'


def get_compiling_cuda_version() -> str:
    """What ``mmcv.utils.collect_env`` prints: nothing was compiled."""
    return 'n/a'


def install() -> None:
    """Append the finder to ``sys.meta_path``, once."""
    if not any(isinstance(finder, ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(ExtensionFinder())


def describe() -> str:
    """One line for the log: the package and version whose kernels ``mmcv.ops`` will run."""
    spec = importlib.util.find_spec(EXTENSION)
    if spec and isinstance(spec.loader, ExtensionFinder):
        import torchvision

        return f'ops: torchvision {torchvision.__version__} kernels through mmscratch.ops'
    import mmcv

    return f'ops: mmcv {mmcv.__version__} compiled'

"""What a masked convolution gathers and scatters, called as ``mmcv._ext.masked_*`` are.

mmcv multiplies by the weight in between. Letters in shapes: C channels, H and W of the feature map,
M cells at which the convolution is computed.
"""

from torch import Tensor
from torch.nn.functional import unfold


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Write what the kernel covers at each cell into ``col`` [C * kernel_h * kernel_w, M].

    ``im`` is [1, C, H, W]; ``mask_h_idx`` and ``mask_w_idx`` are [M], rows and columns of the
    output.
    """
    width = im.shape[3] + 2 * pad_w - kernel_w + 1
    columns = unfold(im, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    col.copy_(columns[:, mask_h_idx * width + mask_w_idx])


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write ``col`` [C, M] into the cells of ``im`` [1, C, H, W], in place."""
    im[0, :, mask_h_idx, mask_w_idx] = col

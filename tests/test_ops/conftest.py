"""What the tests of the operators share."""

import pytest
import torch

# First: without a compiled mmcv, mmcv.ops cannot be imported before mmscratch.
import mmscratch  # noqa: F401

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=needs_cuda)])
def device(request) -> str:
    return request.param
